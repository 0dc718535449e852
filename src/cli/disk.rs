//! How fast a disk makes writes safe.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// What is appended between two fdatasyncs.
const APPENDED: [u8; 1024] = [0x5a; 1024];

/// A file on the disk that is to be measured; unnamed again as soon as it is open, so nothing stays behind.
pub(super) struct Disk(File);

impl Disk {
    /// A file in this folder.
    ///
    /// # Errors
    /// None can be written there.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(format!(".fanfare-disk-{}", std::process::id()));
        let file = File::create_new(&path)
            .and_then(|file| std::fs::remove_file(&path).map(|()| file))
            .with_context(|| format!("writing in {}", dir.display()))?;
        Ok(Self(file))
    }

    /// Appends 1 KiB and waits for the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn sync(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.0.write_all(&APPENDED)?;
        self.0.sync_data()?;
        Ok(started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path()).unwrap();
        assert!(disk.sync().unwrap() > Duration::ZERO);
        assert_eq!(disk.0.metadata().unwrap().len(), 1024);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Disk::open(&dir.path().join("none")).is_err());
    }
}
