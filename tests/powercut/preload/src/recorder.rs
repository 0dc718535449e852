//! Which files are watched, and the log of what happens to them.

use std::collections::HashMap;
use std::env;
use std::ffi::{c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};

use libc::iovec;
use powercut::{Entry, FileId, Record, encode_write_head};

use crate::sys::{self, At, Inode, Stat};

/// The state behind the one lock.
#[derive(Debug)]
pub struct Recorder {
    root: PathBuf,
    log: c_int,
    /// `None` for files that were looked at and lie elsewhere.
    ids: HashMap<Inode, Option<FileId>>,
    next_id: FileId,
    folders: HashMap<FileId, Folder>,
    next_token: u32,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    modified: (i64, u32),
    names: Vec<Entry>,
}

/// The recorder, locked; `None` if the environment asks for none.
pub fn lock() -> Option<MutexGuard<'static, Recorder>> {
    static RECORDER: OnceLock<Option<Mutex<Recorder>>> = OnceLock::new();
    let recorder = RECORDER
        .get_or_init(|| Recorder::from_environment().map(Mutex::new))
        .as_ref()?;
    match recorder.lock() {
        Ok(guard) => Some(guard),
        Err(_poisoned) => sys::die("a hook panicked"),
    }
}

impl Recorder {
    fn from_environment() -> Option<Self> {
        let root = PathBuf::from(env::var_os(powercut::ENV_FOLDER)?);
        let log = PathBuf::from(env::var_os(powercut::ENV_LOG)?);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_APPEND;
        let Some(log) = sys::open(&log, flags) else {
            sys::die("cannot make the log; does it exist already?")
        };
        let Ok(root) = root.canonicalize() else {
            sys::die("the watched folder does not exist")
        };
        let mut recorder = Self {
            root: root.clone(),
            log,
            ids: HashMap::new(),
            next_id: 0,
            folders: HashMap::new(),
            next_token: 0,
        };
        let Some(stat) = sys::stat(At::Path(&root)) else {
            sys::die("cannot stat the folder")
        };
        let id = recorder.new_id(stat.inode);
        recorder.add_folder(id, root);
        recorder.append(&Record::Started);
        Some(recorder)
    }

    /// The id of an open file or folder, if it lies in the watched tree.
    pub fn id_of(&mut self, fd: c_int) -> Option<(FileId, Stat)> {
        let stat = sys::stat(At::Fd(fd))?;
        if let Some(id) = self.ids.get(&stat.inode) {
            return id.map(|id| (id, stat));
        }
        let inside = sys::path_of(fd).filter(|path| path.starts_with(&self.root));
        if inside.is_none() {
            self.ids.insert(stat.inode, None);
        }
        inside.map(|_| (self.new_id(stat.inode), stat))
    }

    /// True if `path` lies in the watched tree.
    pub fn watches(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    fn new_id(&mut self, inode: Inode) -> FileId {
        let id = self.next_id;
        self.next_id += 1;
        self.ids.insert(inode, Some(id));
        id
    }

    /// Logs the first `count` bytes of `buffers`.
    pub fn wrote(&mut self, file: FileId, offset: u64, buffers: &[iovec], count: usize) {
        let Ok(length) = u32::try_from(count) else {
            sys::die("one write of 4 GiB or more")
        };
        let head = encode_write_head(file, offset, length);
        let mut parts = Vec::with_capacity(buffers.len() + 1);
        parts.push(part(&head));
        let mut left = count;
        for buffer in buffers {
            let taken = buffer.iov_len.min(left);
            parts.push(iovec {
                iov_base: buffer.iov_base,
                iov_len: taken,
            });
            left -= taken;
        }
        self.append_parts(&parts);
    }

    /// Logs a new length.
    pub fn resized(&mut self, file: FileId, len: u64) {
        self.append(&Record::SetLen { file, len });
    }

    /// Logs that a sync begins. Looks for changed folders first, since renames may be made by raw
    /// system calls, which no hook sees.
    pub fn sync_begins(&mut self, fd: c_int, file: FileId) -> u32 {
        let path = sys::path_of(fd);
        let parent = path.as_deref().and_then(Path::parent).map(Path::to_owned);
        let ids: Vec<FileId> = self.folders.keys().copied().collect();
        for id in ids {
            let here = |folder: &Folder| id == file || Some(&folder.path) == parent.as_ref();
            let forced = self.folders.get(&id).is_some_and(here);
            self.look(id, forced);
        }
        let token = self.next_token;
        self.next_token += 1;
        self.append(&Record::SyncBegin { file, token });
        token
    }

    /// Logs that a sync has returned.
    pub fn sync_ended(&mut self, token: u32, ok: bool) {
        self.append(&Record::SyncEnd { token, ok });
    }

    /// Looks at the folder that `path` lies in, after a name in it changed.
    pub fn name_changed(&mut self, path: &Path) {
        let Some(parent) = path.parent() else { return };
        let found = self
            .folders
            .iter()
            .find(|(_, folder)| folder.path == parent);
        if let Some(id) = found.map(|(id, _)| *id) {
            self.look(id, true);
        }
    }

    fn add_folder(&mut self, id: FileId, path: PathBuf) {
        self.folders.insert(
            id,
            Folder {
                path,
                modified: (0, 0),
                names: Vec::new(),
            },
        );
        self.look(id, true);
    }

    /// Logs the names in a folder if they have changed, and adds folders that are new.
    fn look(&mut self, id: FileId, forced: bool) {
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        let stat = sys::stat(At::Path(&folder.path));
        let Some(stat) = stat.filter(|it| self.ids.get(&it.inode) == Some(&Some(id))) else {
            // Removed, or another folder stands at its path now.
            self.folders.remove(&id);
            return;
        };
        if !forced && stat.modified == folder.modified {
            return;
        }
        folder.modified = stat.modified;
        let path = folder.path.clone();
        let names = self.names_in(&path);
        if self
            .folders
            .get(&id)
            .is_some_and(|folder| folder.names == names)
        {
            return;
        }
        self.append(&Record::Names {
            folder: id,
            entries: names.clone(),
        });
        for entry in names.iter().filter(|entry| entry.is_folder) {
            let below = path.join(&entry.name);
            if self
                .folders
                .get(&entry.id)
                .is_none_or(|known| known.path != below)
            {
                self.add_folder(entry.id, below);
            }
        }
        if let Some(folder) = self.folders.get_mut(&id) {
            folder.names = names;
        }
    }

    fn names_in(&mut self, folder: &Path) -> Vec<Entry> {
        let Ok(found) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut names = Vec::new();
        for entry in found.flatten() {
            // A name can vanish between the two calls; then it was not there.
            let Some(stat) = sys::stat(At::Path(&entry.path())) else {
                continue;
            };
            let Ok(name) = entry.file_name().into_string() else {
                sys::die("a name is not UTF-8")
            };
            if !stat.is_file && !stat.is_folder {
                sys::die("the watched tree holds something that is neither file nor folder");
            }
            let id = match self.ids.get(&stat.inode) {
                Some(Some(id)) => *id,
                Some(None) | None => self.new_id(stat.inode),
            };
            names.push(Entry {
                name,
                id,
                is_folder: stat.is_folder,
            });
        }
        names.sort_by(|a, b| a.name.cmp(&b.name));
        names
    }

    fn append(&mut self, record: &Record<'_>) {
        self.append_parts(&[part(&record.encode())]);
    }

    fn append_parts(&mut self, parts: &[iovec]) {
        let length: usize = parts.iter().map(|part| part.iov_len).sum();
        if sys::write(self.log, parts, None) != length as isize {
            sys::die("cannot append to the log");
        }
    }
}

fn part(bytes: &[u8]) -> iovec {
    iovec {
        iov_base: bytes.as_ptr().cast_mut().cast::<c_void>(),
        iov_len: bytes.len(),
    }
}
