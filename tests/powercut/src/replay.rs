//! From the log to the disk a power cut leaves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Entry, FileId, Image, Record, Seed, Sparse};

const ROOT: FileId = 0;
const SECTOR: usize = 512;

/// What survives a cut beyond that which was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing: only synced bytes under synced names.
    Nothing,
    /// Every name, but only synced bytes: what a journal of metadata alone preserves.
    Names,
    /// Some of it, chosen by the seed: folders stand at any state since their last sync, unsynced
    /// writes arrive in part, sector by sector, later ones perhaps without earlier ones.
    Torn(u64),
    /// Everything, as after SIGKILL.
    Everything,
}

/// The log of one run, and the folder it started from.
#[derive(Debug)]
pub struct Recording {
    log: Vec<u8>,
    base: Image,
    started: u64,
}

impl Recording {
    /// Reads the log at `path`, of a run that began with `base` in its folder.
    ///
    /// # Errors
    /// Whatever reading says, and a log in which the process never got to start.
    pub fn load(path: &Path, base: Image) -> io::Result<Self> {
        let mut recording = Self {
            log: fs::read(path)?,
            base,
            started: 0,
        };
        let started = recording
            .records()
            .find(|(_, record)| *record == Record::Started);
        let reason = "nothing was recorded: was the library preloaded?";
        recording.started = started
            .map(|(end, _)| end)
            .ok_or_else(|| io::Error::other(reason))?;
        Ok(recording)
    }

    /// The records with the position at which each ends. Positions are what
    /// [`Replay::advance_to`] takes, and what the length of the log file says during the run.
    pub fn records(&self) -> impl Iterator<Item = (u64, Record<'_>)> {
        let mut rest = self.log.as_slice();
        std::iter::from_fn(move || {
            let record = Record::decode(&mut rest)?;
            Some(((self.log.len() - rest.len()) as u64, record))
        })
    }

    /// The positions around syncs: before each begins, while it runs, and when it has ended.
    pub fn sync_boundaries(&self) -> Vec<u64> {
        let mut positions = Vec::new();
        let mut before = self.started;
        for (end, record) in self.records().filter(|(end, _)| *end > self.started) {
            match record {
                Record::SyncBegin { .. } => positions.extend([before, end]),
                Record::SyncEnd { .. } => positions.push(end),
                _ => {}
            }
            before = end;
        }
        positions.dedup();
        positions
    }

    /// The position at which the log ends.
    pub fn end(&self) -> u64 {
        self.records().last().map_or(0, |(end, _)| end)
    }

    /// Compares the whole replay with `folder`, as the process left it when it ended by itself.
    ///
    /// # Errors
    /// The first difference: something was written past the library, and no cut can be trusted.
    pub fn check_complete(&self, folder: &Path) -> io::Result<()> {
        let mut replay = Replay::new(self);
        replay.advance_to(self.end());
        match replay
            .image(Survival::Everything)
            .difference(&Image::read_from(folder)?)
        {
            None => Ok(()),
            Some(text) => Err(io::Error::other(format!(
                "the recording is not complete: {text}"
            ))),
        }
    }
}

/// A disk that plays a [`Recording`].
#[derive(Debug)]
pub struct Replay<'a> {
    recording: &'a Recording,
    rest: &'a [u8],
    position: u64,
    files: HashMap<FileId, Contents<'a>>,
    folders: HashMap<FileId, Folder>,
    /// Syncs under way: what, and the first operation that is too late for it.
    syncs: HashMap<u32, (FileId, Mark)>,
    operations: u64,
    ignore_syncs: bool,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    operation: u64,
    listing: u64,
}

#[derive(Debug, Default)]
struct Contents<'a> {
    live: Sparse,
    durable: Sparse,
    pending: Vec<(u64, Change<'a>)>,
}

#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Write(u64, &'a [u8]),
    SetLen(u64),
}

/// The states of a folder since its last sync, oldest first; the first is the durable one.
#[derive(Debug)]
struct Folder {
    listings: Vec<Vec<Entry>>,
    /// How many listings were dropped from the front.
    dropped: u64,
}

impl Default for Folder {
    fn default() -> Self {
        Self {
            listings: vec![Vec::new()],
            dropped: 0,
        }
    }
}

impl<'a> Replay<'a> {
    /// A disk as it was when the process had started.
    pub fn new(recording: &'a Recording) -> Self {
        let mut replay = Self {
            recording,
            rest: &recording.log,
            position: 0,
            files: HashMap::new(),
            folders: HashMap::new(),
            syncs: HashMap::new(),
            operations: 0,
            ignore_syncs: false,
        };
        replay.advance_to(recording.started);
        replay
    }

    /// A disk that says it has synced and never does: the control that shows a test can fail.
    pub fn ignoring_syncs(recording: &'a Recording) -> Self {
        Self {
            ignore_syncs: true,
            ..Self::new(recording)
        }
    }

    /// Applies every record that ends at or before `position`. Positions only go up.
    pub fn advance_to(&mut self, position: u64) {
        assert!(position >= self.position, "a disk cannot go back");
        loop {
            let mut rest = self.rest;
            let Some(record) = Record::decode(&mut rest) else {
                break;
            };
            let end = (self.recording.log.len() - rest.len()) as u64;
            if end > position {
                break;
            }
            self.rest = rest;
            self.apply(record);
        }
        self.position = position;
    }

    fn apply(&mut self, record: Record<'a>) {
        self.operations += 1;
        match record {
            Record::Started => self.adopt_base(),
            Record::Names { folder, entries } => {
                self.folders
                    .entry(folder)
                    .or_default()
                    .listings
                    .push(entries);
            }
            Record::Write { file, offset, data } => self.change(file, Change::Write(offset, data)),
            Record::SetLen { file, len } => self.change(file, Change::SetLen(len)),
            Record::SyncBegin { file, token } => {
                let folder = self.folders.get(&file);
                let listing = folder.map_or(0, |it| it.dropped + it.listings.len() as u64 - 1);
                let mark = Mark {
                    operation: self.operations,
                    listing,
                };
                self.syncs.insert(token, (file, mark));
            }
            Record::SyncEnd { token, ok } => {
                if let Some((file, mark)) = self.syncs.remove(&token)
                    && !(ok && self.ignore_syncs)
                {
                    self.finish_sync(file, mark, ok);
                }
            }
        }
    }

    fn adopt_base(&mut self) {
        for folder in self.folders.values_mut() {
            folder.forget_before(u64::MAX);
        }
        let mut waiting = vec![(ROOT, PathBuf::new())];
        while let Some((id, path)) = waiting.pop() {
            let listing = self.folders.get(&id).map(Folder::live).unwrap_or_default();
            for entry in listing {
                let path = path.join(&entry.name);
                if entry.is_folder {
                    waiting.push((entry.id, path));
                } else if let Some(contents) = self.recording.base.file(&path) {
                    let (live, durable) = (contents.clone(), contents.clone());
                    self.files.insert(
                        entry.id,
                        Contents {
                            live,
                            durable,
                            pending: Vec::new(),
                        },
                    );
                }
            }
        }
    }

    fn change(&mut self, file: FileId, change: Change<'a>) {
        let contents = self.files.entry(file).or_default();
        change.apply(&mut contents.live);
        contents.pending.push((self.operations, change));
    }

    fn finish_sync(&mut self, file: FileId, mark: Mark, ok: bool) {
        if let Some(folder) = self.folders.get_mut(&file)
            && ok
        {
            folder.forget_before(mark.listing);
        }
        if let Some(contents) = self.files.get_mut(&file) {
            let covered = contents
                .pending
                .partition_point(|(at, _)| *at < mark.operation);
            for (_, change) in contents.pending.drain(..covered) {
                if ok {
                    change.apply(&mut contents.durable);
                }
            }
        }
    }

    /// The disk if the power failed now.
    pub fn image(&self, survival: Survival) -> Image {
        let mut builder = Builder {
            replay: self,
            survival,
            seed: Seed::new(if let Survival::Torn(seed) = survival {
                seed
            } else {
                0
            }),
            files: BTreeMap::new(),
            seen: HashSet::new(),
            image: Image::default(),
        };
        builder.folder(ROOT, Path::new(""));
        builder.image
    }
}

impl Change<'_> {
    fn apply(self, contents: &mut Sparse) {
        match self {
            Self::Write(offset, data) => contents.write(offset, data),
            Self::SetLen(len) => contents.set_len(len),
        }
    }

    /// Lets `percent` of the sectors through.
    fn apply_torn(self, contents: &mut Sparse, percent: u64, seed: &mut Seed) {
        match self {
            Self::SetLen(len) => {
                if seed.chance(percent) {
                    contents.set_len(len);
                }
            }
            Self::Write(offset, data) => {
                let mut position = offset;
                let mut rest = data;
                while !rest.is_empty() {
                    let to_boundary = SECTOR - (position % SECTOR as u64) as usize;
                    let (sector, later) = rest.split_at(rest.len().min(to_boundary));
                    if seed.chance(percent) {
                        contents.write(position, sector);
                    }
                    position += sector.len() as u64;
                    rest = later;
                }
            }
        }
    }
}

impl Folder {
    fn live(&self) -> Vec<Entry> {
        self.listings
            .last()
            .expect("a folder has a durable listing")
            .clone()
    }

    /// Makes the listing with that number, or the last, the durable one.
    fn forget_before(&mut self, number: u64) {
        let last = self.listings.len() as u64 - 1;
        let gone = number.saturating_sub(self.dropped).min(last);
        self.listings.drain(..gone as usize);
        self.dropped += gone;
    }
}

struct Builder<'a> {
    replay: &'a Replay<'a>,
    survival: Survival,
    seed: Seed,
    /// What was decided about a file, in case it is found under two names.
    files: BTreeMap<FileId, Sparse>,
    seen: HashSet<FileId>,
    image: Image,
}

impl Builder<'_> {
    fn folder(&mut self, id: FileId, path: &Path) {
        // A renamed folder may stand in both of its parents; a disk has it once.
        if !self.seen.insert(id) {
            return;
        }
        for entry in self.listing(id) {
            let path = path.join(&entry.name);
            if entry.is_folder {
                self.image.add_folder(path.clone());
                self.folder(entry.id, &path);
            } else {
                let contents = self.contents(entry.id);
                self.image.add_file(path, contents);
            }
        }
    }

    fn listing(&mut self, id: FileId) -> Vec<Entry> {
        let Some(folder) = self.replay.folders.get(&id) else {
            return Vec::new();
        };
        match self.survival {
            Survival::Nothing => folder.listings.first().cloned().unwrap_or_default(),
            Survival::Names | Survival::Everything => folder.live(),
            Survival::Torn(_) => self.seed.pick(&folder.listings).clone(),
        }
    }

    fn contents(&mut self, id: FileId) -> Sparse {
        let Some(contents) = self.replay.files.get(&id) else {
            return Sparse::default();
        };
        match self.survival {
            Survival::Nothing | Survival::Names => contents.durable.clone(),
            Survival::Everything => contents.live.clone(),
            Survival::Torn(_) => {
                if let Some(decided) = self.files.get(&id) {
                    return decided.clone();
                }
                let mut torn = contents.durable.clone();
                for (_, change) in &contents.pending {
                    let percent = *self.seed.pick(&[0, 10, 50, 90, 100]);
                    change.apply_torn(&mut torn, percent, &mut self.seed);
                }
                // A length often reaches the disk before the bytes do, which then read as zeros.
                if torn.len() < contents.live.len() && self.seed.chance(30) {
                    torn.set_len(contents.live.len());
                }
                self.files.insert(id, torn.clone());
                torn
            }
        }
    }
}

#[cfg(test)]
mod tests;
