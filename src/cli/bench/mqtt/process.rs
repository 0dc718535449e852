//! What a process has used so far: the server's, or the load generator's own.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::bench::machine::kib;

/// Processor time of a process, all its threads together.
///
/// Taken from the scheduler's own nanoseconds where the kernel tells them, else from `utime + stime`, which are exact
/// to a hundredth of a second.
///
/// # Errors
/// No such process, or no `/proc`.
pub(super) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    if let Some(nanos) = scheduled(pid) {
        return Ok(Duration::from_nanos(nanos));
    }
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).context(path)?;
    let ticks = ticks(&text).with_context(|| format!("/proc/{pid}/stat has no times"))?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// The sum over the threads; nothing if one can not be read.
fn scheduled(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads
        .map(|thread| {
            let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

/// `utime + stime` of `/proc/PID/stat`. The second field is a name in brackets, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// Resident memory in bytes, counted page by page, unlike the fast figures of `/proc/PID/status`.
///
/// # Errors
/// No such process, one of another user, or no `/proc`.
pub(super) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let rss = kib(&text, "Rss").with_context(|| format!("{path} has no Rss"))?;
    Ok(rss * 1024)
}

/// The processors that a process may run on, as `taskset -c` reads them.
///
/// # Errors
/// No such process, or no `/proc`.
pub(super) fn cpus(pid: u32) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let mut lines = text.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    Ok(list
        .with_context(|| format!("{path} has no list of processors"))?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a ) (b) S 1 2 3 4 5 6 7 8 9 10 123 77 0 0 20";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("42 (x) S 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn a_process_can_be_looked_at() {
        // One with a single thread: of threads that end, and the tests' do, the sum forgets.
        let mut busy = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        let pid = busy.id();
        let before = cpu(pid).unwrap();
        // Ends as soon as it was given some time, however busy the machine is.
        while cpu(pid).unwrap() == before {
            std::thread::yield_now();
        }
        assert!(cpu(pid).unwrap() > before);
        assert!(resident_bytes(pid).unwrap() > 10_000);
        assert!(
            cpus(pid)
                .unwrap()
                .starts_with(|first: char| first.is_ascii_digit())
        );
        busy.kill().unwrap();
        busy.wait().unwrap();
        for gone in [
            cpu(u32::MAX).err(),
            resident_bytes(u32::MAX).err(),
            cpus(u32::MAX).err(),
        ] {
            assert!(gone.is_some());
        }
    }
}
