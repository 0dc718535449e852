//! Faults on demand: a small file that the test writes and the preloaded library has mapped.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The words of the control file, each a native-endian `i64` at `8 * index`.
///
/// | word | meaning |
/// |---|---|
/// | [`Control::SYNC`] | n > 0: the n-th sync from now fails with `EIO`, once |
/// | [`Control::WRITE`] | n > 0: the n-th write from now fails with `EIO`, once |
/// | [`Control::SPACE`] | n ≥ 0: n more bytes can be written, then `ENOSPC`; below 0: no limit |
/// | [`Control::INJECTED`] | counts the calls that were made to fail |
/// | [`Control::HELD`] | not 0: syncs do not begin |
#[derive(Debug)]
pub struct Control(File);

/// Nothing more than a count: how many calls were made to fail so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Injected(pub i64);

impl Control {
    /// Word: countdown to a failing sync.
    pub const SYNC: usize = 0;
    /// Word: countdown to a failing write.
    pub const WRITE: usize = 1;
    /// Word: bytes left on the disk.
    pub const SPACE: usize = 2;
    /// Word: calls made to fail.
    pub const INJECTED: usize = 3;
    /// Word: whether syncs wait.
    pub const HELD: usize = 4;
    /// How many words there are.
    pub const WORDS: usize = 5;

    /// Makes the file, with every fault off.
    ///
    /// # Errors
    /// Whatever making and writing it says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len((Self::WORDS * 8) as u64)?;
        let control = Self(file);
        control.set(Self::SPACE, -1)?;
        Ok(control)
    }

    /// The `nth` sync from now (1 is the next) fails with `EIO`.
    ///
    /// # Errors
    /// Whatever writing the file says.
    pub fn fail_sync(&self, nth: u32) -> io::Result<()> {
        self.set(Self::SYNC, nth.into())
    }

    /// The `nth` write from now (1 is the next) fails with `EIO`.
    ///
    /// # Errors
    /// Whatever writing the file says.
    pub fn fail_write(&self, nth: u32) -> io::Result<()> {
        self.set(Self::WRITE, nth.into())
    }

    /// Leaves room for `bytes` more; the write that crosses the line is cut short.
    ///
    /// # Errors
    /// Whatever writing the file says.
    pub fn leave_space(&self, bytes: u32) -> io::Result<()> {
        self.set(Self::SPACE, bytes.into())
    }

    /// Gives the disk its space back.
    ///
    /// # Errors
    /// Whatever writing the file says.
    pub fn free_space(&self) -> io::Result<()> {
        self.set(Self::SPACE, -1)
    }

    /// From now on syncs wait, or no longer do.
    ///
    /// # Errors
    /// Whatever writing the file says.
    pub fn hold_syncs(&self, held: bool) -> io::Result<()> {
        self.set(Self::HELD, held.into())
    }

    /// How many calls were made to fail so far: proof that a fault was met.
    ///
    /// # Errors
    /// Whatever reading the file says.
    pub fn injected(&self) -> io::Result<Injected> {
        let mut word = [0; 8];
        self.0
            .read_exact_at(&mut word, (Self::INJECTED * 8) as u64)?;
        Ok(Injected(i64::from_ne_bytes(word)))
    }

    fn set(&self, word: usize, value: i64) -> io::Result<()> {
        self.0.write_all_at(&value.to_ne_bytes(), (word * 8) as u64)
    }
}
