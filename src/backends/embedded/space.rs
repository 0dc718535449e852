//! Free disk space: what grows is refused while too little is left, so that the database itself never
//! meets a full disk in the middle of a write.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::committer::Growth;
use crate::domain::StoreError;

/// Watches the free space of the file system that holds the store.
pub(super) struct Space {
    folder: OwnedFd,
    min_free_bytes: u64,
}

/// What one look found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    free: u64,
    min_free: u64,
}

impl Space {
    /// Watches the file system of `folder`; what grows is refused below `min_free_bytes`, everything below a
    /// quarter of that.
    pub(super) fn watch(folder: &Path, min_free_bytes: u64) -> std::io::Result<Self> {
        let folder = std::fs::File::open(folder)?.into();
        Ok(Self {
            folder,
            min_free_bytes,
        })
    }

    /// Looks now. Costs about a microsecond, once a commit.
    pub(super) fn look(&self) -> Room {
        let free = match rustix::fs::fstatvfs(&self.folder) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(error) => {
                tracing::warn!(%error, "can not read the free disk space; taking it for none");
                0
            }
        };
        metrics::gauge!("fanfare_store_free_bytes").set(free as f64);
        Room {
            free,
            min_free: self.min_free_bytes,
        }
    }
}

impl Room {
    /// Whether a job may run.
    pub(super) fn allow(self, growth: Growth) -> Result<(), StoreError> {
        let needed = match growth {
            Growth::Grows => self.min_free,
            // Deleting writes a little before it frees a lot: it gets the last of the reserve.
            Growth::Frees => self.min_free / 4,
        };
        if self.free >= needed {
            return Ok(());
        }
        metrics::counter!("fanfare_store_refused_full_total").increment(1);
        Err(StoreError::Full(format!(
            "{} bytes are free, {needed} are needed",
            self.free
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_stops_before_deletion_does() {
        let room = |free| Room {
            free,
            min_free: 1000,
        };
        assert!(room(1000).allow(Growth::Grows).is_ok());
        assert!(room(999).allow(Growth::Grows).is_err());
        assert!(room(250).allow(Growth::Frees).is_ok());
        assert!(room(249).allow(Growth::Frees).is_err());
    }

    #[test]
    fn a_real_folder_has_room() {
        let space = Space::watch(Path::new("."), 1).expect("the folder exists");
        assert!(space.look().allow(Growth::Grows).is_ok());
    }
}
