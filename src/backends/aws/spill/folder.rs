//! The folder of errands: files, their numbers, and the bytes that they take.
//!
//! A file is written under another name, synced, and gets its own name when it is whole; then the folder is synced. So what is
//! there under its own name was accepted, and what is not was not. Numbers rise, over restarts too. Everything here waits for
//! the disk, so it runs where nothing waits for it ([`blocking`](super::blocking)).

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::errand::{self, Errand};
use crate::domain::StoreError;

/// What a disk gives out at a time.
const BLOCK: u64 = 4096;

/// What files are called whose errands wait.
const WAITING: &str = "errands";

/// What files are called that can not be read.
const UNREADABLE: &str = "unreadable";

/// What a file is called until it is whole.
const NEW: &str = "new";

/// A folder of errands, of one process at a time.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    most: u64,
    state: Mutex<State>,
    changed: Notify,
    /// Held while this lives.
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, Size>,
    /// Bytes of all files, of those that can not be read, too, and of what is promised room.
    bytes: u64,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u64,
    errands: u32,
}

/// Room for an errand, until it is in a file; it is free again when this is dropped.
#[derive(Debug)]
pub struct Reserved {
    folder: Arc<Folder>,
    bytes: u64,
}

impl Folder {
    /// Opens a folder, which is made if it is not there, for at most so many bytes of errands.
    ///
    /// # Errors
    /// What is in the way; of the kind [`io::ErrorKind::WouldBlock`] if another process has it.
    pub fn open(path: PathBuf, most: u64) -> io::Result<Arc<Self>> {
        make(&path)?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).mode(0o600);
        let lock = lock.open(path.join("lock"))?;
        lock.try_lock()?;
        let mut state = State::default();
        for entry in fs::read_dir(&path)? {
            let path = entry?.path();
            match (
                number_of(&path),
                path.extension().and_then(|it| it.to_str()),
            ) {
                (Some(number), Some(WAITING)) => {
                    let size = Size::of_file(&path)?;
                    state.bytes += size.bytes;
                    state.files.insert(number, size);
                    state.next = state.next.max(number + 1);
                }
                (Some(number), Some(UNREADABLE)) => {
                    state.bytes += Size::of_file(&path)?.bytes;
                    state.next = state.next.max(number + 1);
                }
                // Nobody was told that it was accepted.
                (Some(_), Some(NEW)) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        state.show();
        Ok(Arc::new(Self {
            path,
            most,
            state: Mutex::new(state),
            changed: Notify::new(),
            _lock: lock,
        }))
    }

    /// Reserves room for an errand of so many bytes; `None` if there is none.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        // It may get a file for itself.
        let bytes = on_disk(bytes + errand::encode(&[]).len());
        let mut state = self.lock();
        if state.bytes + bytes > self.most {
            return None;
        }
        state.bytes += bytes;
        state.show();
        Some(Reserved {
            folder: self.clone(),
            bytes,
        })
    }

    /// Keeps errands in a file of their own. They are on disk when this returns.
    ///
    /// # Errors
    /// The disk's. Then there is no such file.
    pub fn add(&self, errands: &[Errand], reserved: Vec<Reserved>) -> io::Result<()> {
        let number = {
            let mut state = self.lock();
            state.next += 1;
            state.next - 1
        };
        let size = self.write(number, errands).inspect_err(|_| {
            // It may have its name already. If it stays, errands are done that nobody was promised.
            let _ = fs::remove_file(self.path_of(number, WAITING));
        })?;
        let mut state = self.lock();
        state.files.insert(number, size);
        state.bytes += size.bytes;
        drop(state);
        drop(reserved);
        self.changed.notify_one();
        Ok(())
    }

    /// Keeps of a file these errands only; of none, nothing.
    ///
    /// # Errors
    /// The disk's. Then the file may be as it was.
    pub fn keep(&self, number: u64, errands: &[Errand]) -> io::Result<()> {
        if errands.is_empty() {
            // Forgotten in any case, so that it is not done again and again; at the next start, if it is still there.
            let removed = fs::remove_file(self.path_of(number, WAITING));
            self.forget(number, 0);
            return removed;
        }
        let size = self.write(number, errands)?;
        let mut state = self.lock();
        if let Some(before) = state.files.insert(number, size) {
            state.bytes = state.bytes + size.bytes - before.bytes;
        }
        state.show();
        Ok(())
    }

    /// Puts a file aside that can not be read, for a person to look at. It takes its room until it is removed.
    ///
    /// # Errors
    /// The disk's. It is not read again before the next start in any case.
    pub fn put_aside(&self, number: u64) -> io::Result<PathBuf> {
        let to = self.path_of(number, UNREADABLE);
        let renamed = fs::rename(self.path_of(number, WAITING), &to);
        let bytes = self.lock().files.get(&number).map_or(0, |size| size.bytes);
        self.forget(number, bytes);
        renamed.map(|()| to)
    }

    /// The errands of a file.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if they can not be read, [`StoreError::Failed`] if the file can not.
    pub fn read(&self, number: u64) -> Result<Vec<Errand>, StoreError> {
        let path = self.path_of(number, WAITING);
        let content = fs::read(&path).map_err(|error| StoreError::Failed(error.to_string()))?;
        errand::decode(&content)
    }

    /// The next file after this one, or else the first. Waits until there is one.
    pub async fn next(&self, after: Option<u64>) -> u64 {
        loop {
            let changed = self.changed.notified();
            if let Some(number) = self.lock().next(after) {
                return number;
            }
            changed.await;
        }
    }

    fn write(&self, number: u64, errands: &[Errand]) -> io::Result<Size> {
        let content = errand::encode(errands);
        let new = self.path_of(number, NEW);
        let written = write_synced(&new, &content)
            .and_then(|()| fs::rename(&new, self.path_of(number, WAITING)))
            .inspect_err(|_| {
                // A part of it may be there, and take what little room there is. The next start removes it, too.
                let _ = fs::remove_file(&new);
            });
        written.and_then(|()| sync_folder(&self.path))?;
        Ok(Size {
            bytes: on_disk(content.len()),
            errands: errand::count(&content).unwrap_or_default(),
        })
    }

    fn forget(&self, number: u64, still_taken: u64) {
        let mut state = self.lock();
        if let Some(size) = state.files.remove(&number) {
            state.bytes = state.bytes - size.bytes + still_taken;
        }
        state.show();
    }

    fn path_of(&self, number: u64, kind: &str) -> PathBuf {
        self.path.join(format!("{number:020}.{kind}"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&self, after: Option<u64>) -> Option<u64> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.files.range((after, Bound::Unbounded));
        let (number, _) = later.next().or_else(|| self.files.first_key_value())?;
        Some(*number)
    }

    fn show(&self) {
        let errands: u64 = self
            .files
            .values()
            .map(|size| u64::from(size.errands))
            .sum();
        metrics::gauge!("fanfare_aws_spill_bytes").set(self.bytes as f64);
        metrics::gauge!("fanfare_aws_spill_messages").set(errands as f64);
    }
}

impl Size {
    fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut beginning = Vec::new();
        file.take(BLOCK).read_to_end(&mut beginning)?;
        Ok(Self {
            bytes: on_disk(usize::try_from(bytes).unwrap_or(usize::MAX)),
            errands: errand::count(&beginning).unwrap_or_default(),
        })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut state = self.folder.lock();
        state.bytes -= self.bytes;
        state.show();
    }
}

/// Makes a folder, and sees that it is still there after a power cut.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make(parent)?;
    // What waits is not sealed.
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(parent),
    }
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_data()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// What so many bytes take on disk.
fn on_disk(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tempfile::TempDir;

    use super::super::errand::tests::errand;
    use super::*;

    fn open(dir: &TempDir, most: u64) -> Arc<Folder> {
        Folder::open(dir.path().join("a/spill"), most).unwrap()
    }

    fn add(folder: &Arc<Folder>, id: &str) {
        let errand = errand(id);
        let reserved = folder.reserve(errand.bytes()).unwrap();
        folder.add(&[errand], vec![reserved]).unwrap();
    }

    fn taken(folder: &Folder) -> (u64, usize) {
        let state = folder.lock();
        (state.bytes, state.files.len())
    }

    #[test]
    fn errands_are_there_again_after_a_restart_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(&dir, 1 << 20);
        for id in ["a", "b", "c"] {
            add(&folder, id);
        }
        let before = taken(&folder);
        drop(folder);
        fs::write(dir.path().join("a/spill/00000000000000000007.new"), "torn").unwrap();
        let folder = open(&dir, 1 << 20);
        assert_eq!(taken(&folder), before);
        assert_eq!(before, (3 * BLOCK, 3));
        let order = [(None, 0), (Some(0), 1), (Some(1), 2), (Some(2), 0)];
        for (after, number) in order {
            assert_eq!(folder.next(after).now_or_never(), Some(number));
        }
        assert_eq!(folder.read(1), Ok(vec![errand("b")]));
        add(&folder, "d");
        assert_eq!(
            folder.read(3),
            Ok(vec![errand("d")]),
            "no number comes twice"
        );
        assert!(!dir.path().join("a/spill/00000000000000000007.new").exists());
    }

    #[test]
    fn a_folder_is_of_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(&dir, 1 << 20);
        let other = Folder::open(dir.path().join("a/spill"), 1 << 20);
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(folder);
        open(&dir, 1 << 20);
    }

    #[test]
    fn so_many_bytes_wait_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(&dir, 2 * BLOCK);
        add(&folder, "a");
        let promised = folder.reserve(1).unwrap();
        assert!(folder.reserve(1).is_none());
        drop(promised);
        add(&folder, "b");
        assert!(folder.reserve(1).is_none());
        folder.keep(0, &[]).unwrap();
        assert_eq!(taken(&folder), (BLOCK, 1));
        add(&folder, "c");
        drop(folder);
        assert!(
            open(&dir, 2 * BLOCK).reserve(1).is_none(),
            "after a restart, too"
        );
    }

    #[test]
    fn what_is_done_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(&dir, 1 << 20);
        let errands = ["a", "b", "c"].map(errand);
        let reserved = errands.iter().map(|it| folder.reserve(it.bytes()).unwrap());
        folder.add(&errands, reserved.collect()).unwrap();
        folder.keep(0, &errands[1..2]).unwrap();
        drop(folder);
        let folder = open(&dir, 1 << 20);
        assert_eq!(folder.read(0), Ok(vec![errand("b")]));
        folder.keep(0, &[]).unwrap();
        assert_eq!(taken(&folder), (0, 0));
        assert!(folder.next(None).now_or_never().is_none());
        drop(folder);
        assert_eq!(taken(&open(&dir, 1 << 20)), (0, 0));
    }

    #[test]
    fn what_can_not_be_read_is_put_aside_and_takes_its_room() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(&dir, 1 << 20);
        add(&folder, "a");
        add(&folder, "b");
        fs::write(folder.path_of(0, WAITING), "nonsense").unwrap();
        assert!(matches!(folder.read(0), Err(StoreError::Corrupt(_))));
        assert!(folder.put_aside(0).unwrap().exists());
        assert_eq!(folder.next(None).now_or_never(), Some(1));
        assert_eq!(taken(&folder), (2 * BLOCK, 1));
        drop(folder);
        let folder = open(&dir, 1 << 20);
        assert_eq!(taken(&folder), (2 * BLOCK, 1));
        assert_eq!(folder.read(1), Ok(vec![errand("b")]));
    }

    #[test]
    fn a_disk_that_does_not_take_it_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(&dir, 1 << 20);
        add(&folder, "a");
        // What is in the way of the next file's other name can not be written over.
        fs::create_dir(folder.path_of(1, NEW)).unwrap();
        let reserved = folder.reserve(errand("b").bytes()).unwrap();
        assert!(folder.add(&[errand("b")], vec![reserved]).is_err());
        assert_eq!(taken(&folder), (BLOCK, 1));
        add(&folder, "c");
        assert_eq!(folder.read(2), Ok(vec![errand("c")]));
    }
}
