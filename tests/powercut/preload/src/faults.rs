//! Makes calls fail as the control file says; `powercut::Control` has the words.

use std::env;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use powercut::Control;

use crate::sys;

/// What a write may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    All,
    /// So many bytes, at least one.
    Part(usize),
    Fail(i32),
}

type Words = [AtomicI64; Control::WORDS];

fn words() -> Option<&'static Words> {
    static WORDS: OnceLock<Option<&'static Words>> = OnceLock::new();
    *WORDS.get_or_init(|| {
        let path = env::var_os(powercut::ENV_CONTROL)?;
        let Some(fd) = sys::open(Path::new(&path), libc::O_RDWR) else {
            sys::die("cannot open the control file")
        };
        // SAFETY: a fresh shared mapping that is never unmapped; the file holds whole, aligned
        // words, and both sides only use them as atomics or single writes of eight bytes.
        unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let length = size_of::<Words>();
            let start = libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, fd, 0);
            if start == libc::MAP_FAILED {
                sys::die("cannot map the control file");
            }
            Some(&*start.cast::<Words>())
        }
    })
}

/// Counts down; true for the one call that brings the counter to zero.
fn is_due(counter: &AtomicI64) -> bool {
    counter.try_update(SeqCst, SeqCst, |left| (left > 0).then(|| left - 1)) == Ok(1)
}

fn note(words: &Words) {
    words[Control::INJECTED].fetch_add(1, SeqCst);
}

/// True if this sync is to fail.
pub fn sync_fails() -> bool {
    words().is_some_and(|words| {
        let due = is_due(&words[Control::SYNC]);
        if due {
            note(words);
        }
        due
    })
}

/// Returns when syncs are not held.
pub fn wait_while_held() {
    let Some(words) = words() else { return };
    while words[Control::HELD].load(SeqCst) != 0 {
        thread::sleep(Duration::from_millis(1));
    }
}

/// What a write of `count` bytes may do.
pub fn write_allowance(count: usize) -> Allowance {
    let Some(words) = words() else {
        return Allowance::All;
    };
    if is_due(&words[Control::WRITE]) {
        note(words);
        return Allowance::Fail(libc::EIO);
    }
    let wanted = i64::try_from(count).unwrap_or(i64::MAX);
    let take = |left: i64| (left >= 0).then(|| left - left.min(wanted));
    match words[Control::SPACE].try_update(SeqCst, SeqCst, take) {
        Err(_unlimited) => Allowance::All,
        Ok(left) if left >= wanted => Allowance::All,
        Ok(0) => {
            note(words);
            Allowance::Fail(libc::ENOSPC)
        }
        Ok(left) => Allowance::Part(left as usize),
    }
}

/// True if there is no room for a new file.
pub fn is_full() -> bool {
    words().is_some_and(|words| {
        let full = words[Control::SPACE].load(SeqCst) == 0;
        if full {
            note(words);
        }
        full
    })
}
