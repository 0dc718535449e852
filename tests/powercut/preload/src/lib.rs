//! Preloaded into a process, records what it does to the files under `POWERCUT_DIR`.
//!
//! The functions in `hooks` stand in for libc's. Each does the real system call itself and then
//! appends to the log, both under one lock, so that the log has the order of the disk. A sync is
//! logged when it begins and when it has returned; between the two the lock is free.
//!
//! Nothing here may call a function that `hooks` replaces: it would wait for its own lock.

#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod hooks;
#[cfg(target_os = "linux")]
mod recorder;
#[cfg(target_os = "linux")]
mod sys;
