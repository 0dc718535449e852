//! This machine: its limits, and the disk under the data directory.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::cli::disk::Disk;
use crate::config::Config;
use crate::observe::findings::Finding;

/// Files that are open beside connections: the store's, the listeners', the log.
const OTHER_FILES: u64 = 1000;

/// How often the disk is tried.
const SYNCS: usize = 50;

/// A disk that takes longer than this at the median holds every answer up.
const SLOW_SYNC: Duration = Duration::from_millis(10);

/// Every connection is an open file.
pub(super) fn open_files(config: &Config) -> Finding {
    let topics = match config.mqtt.enabled {
        true => config.mqtt.max_connections,
        false => 0,
    };
    let needed = (config.http.max_connections + topics) as u64 + OTHER_FILES;
    judged_files(getrlimit(Resource::Nofile).current, needed)
}

/// `None`: there is no limit.
fn judged_files(limit: Option<u64>, needed: u64) -> Finding {
    let subject = "open files";
    match limit {
        Some(limit) if limit < needed => {
            let found = format!("{limit} may be open, but {needed} are needed for all connections");
            let advice = format!(
                "raise the limit (`ulimit -n {needed}`, LimitNOFILE= of the service), or lower max_connections"
            );
            Finding::warn(subject, found, advice)
        }
        Some(limit) => Finding::ok(subject, format!("{limit} may be open, {needed} are needed")),
        None => Finding::ok(subject, "no limit"),
    }
}

/// The folder that is there of a path, and a file in it, if one can be written.
fn written_in(dir: &Path) -> (&Path, Result<Disk, String>) {
    let folder = dir.ancestors().find(|folder| folder.is_dir());
    let folder = folder.unwrap_or(Path::new("."));
    let disk = Disk::open(folder).map_err(|error| {
        let folder = folder.display();
        format!("nothing can be written in {folder}: {error:#}")
    });
    (folder, disk)
}

/// What is found of a folder that can be written, or can be made.
fn can_be_written(dir: &Path, folder: &Path) -> String {
    let shown = dir.display();
    match folder == dir {
        true => format!("{shown} can be written"),
        false => format!("{shown} is not there; it can be made"),
    }
}

/// Where messages wait that AWS does not take in time, if they do.
pub(super) fn spill_folder(config: &Config) -> Option<Finding> {
    let dir = config.store.dir.join("spill");
    if config.aws.spill_bytes == 0 {
        return None;
    }
    let subject = "disk for messages that AWS does not take in time";
    let (folder, disk) = written_in(&dir);
    Some(match disk {
        Ok(_) => Finding::ok(subject, can_be_written(&dir, folder)),
        Err(found) => {
            let advice = "give the folder to the user that Fanfare runs as, or set store.dir; with aws.spill_bytes = 0 none is needed";
            Finding::fail(subject, found, advice)
        }
    })
}

/// The data directory, or where it will be made.
pub(super) fn data_directory(config: &Config) -> Vec<Finding> {
    let dir = &config.store.dir;
    let (folder, disk) = written_in(dir);
    let mut disk = match disk {
        Ok(disk) => disk,
        Err(found) => {
            let advice = "give the folder to the user that Fanfare runs as, or set store.dir";
            return vec![Finding::fail("data directory", found, advice)];
        }
    };
    let mut findings = vec![Finding::ok("data directory", can_be_written(dir, folder))];
    findings.push(match rustix::fs::statvfs(folder) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            judged_space(free, config.store.min_free_bytes)
        }
        Err(error) => Finding::warn("free space", error.to_string(), "look with `df`"),
    });
    let syncs: anyhow::Result<Vec<Duration>> = (0..SYNCS).map(|_| disk.sync()).collect();
    findings.push(match syncs {
        Ok(syncs) => judged_syncs(syncs),
        Err(error) => {
            let advice = "Fanfare ends when this happens to it: look at the disk and its logs";
            Finding::fail(
                "disk",
                format!("it does not take what is written: {error}"),
                advice,
            )
        }
    });
    findings
}

fn judged_space(free: u64, needed: u64) -> Finding {
    let (subject, mib) = ("free space", |bytes: u64| format!("{} MiB", bytes >> 20));
    let advice = "make room, or lower store.min_free_bytes";
    match free {
        _ if free < needed => {
            let found = format!(
                "{}: new messages are refused below {}",
                mib(free),
                mib(needed)
            );
            Finding::fail(subject, found, advice)
        }
        _ if free / 4 < needed => {
            let found = format!(
                "{} left, new messages are refused below {}",
                mib(free),
                mib(needed)
            );
            Finding::warn(subject, found, advice)
        }
        _ => Finding::ok(subject, mib(free)),
    }
}

fn judged_syncs(mut syncs: Vec<Duration>) -> Finding {
    syncs.sort_unstable();
    let (median, slowest) = (syncs[syncs.len() / 2], syncs[syncs.len() - 1]);
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let found = format!(
        "fdatasync takes {:.2} ms at the median of {}, {:.2} ms at most",
        ms(median),
        syncs.len(),
        ms(slowest)
    );
    match median > SLOW_SYNC {
        true => {
            let advice = "every success waits for one: a disk with a write cache that survives a power cut is faster";
            Finding::warn("disk", found, advice)
        }
        false => Finding::ok("disk", found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::findings::Level;

    #[test]
    fn connections_need_files() {
        let check = |limit, needed, expect| assert_eq!(judged_files(limit, needed).level, expect);
        check(Some(1024), 1025, Level::Warn);
        check(Some(1025), 1025, Level::Ok);
        check(None, u64::MAX, Level::Ok);
        let mut config = Config::default();
        config.http.max_connections = usize::MAX / 4;
        assert_eq!(open_files(&config).level, Level::Warn);
        config.http.max_connections = 1;
        config.mqtt.max_connections = usize::MAX / 4;
        assert_eq!(open_files(&config).level, Level::Warn);
        config.mqtt.enabled = false;
        assert!(
            !open_files(&config)
                .found
                .contains(&(usize::MAX / 4).to_string())
        );
    }

    #[test]
    fn space_is_judged_by_what_the_store_refuses() {
        let check = |free, expect| assert_eq!(judged_space(free, 1000).level, expect);
        check(999, Level::Fail);
        check(1000, Level::Warn);
        check(3999, Level::Warn);
        check(4000, Level::Ok);
    }

    #[test]
    fn slow_disks_are_told() {
        let syncs = |ms: u64| judged_syncs(vec![Duration::from_millis(ms); 3]).level;
        assert_eq!(syncs(10), Level::Ok);
        assert_eq!(syncs(11), Level::Warn);
    }

    #[test]
    fn a_directory_is_tried_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.min_free_bytes = 0;
        for there in [true, false] {
            config.store.dir = match there {
                true => dir.path().to_owned(),
                false => dir.path().join("a/b"),
            };
            let findings = data_directory(&config);
            assert_eq!(findings.len(), 3);
            assert!(
                findings.iter().all(|one| one.level < Level::Fail),
                "{findings:?}"
            );
            assert_eq!(findings[0].found.contains("is not there"), !there);
        }
        let level = |config: &Config| spill_folder(config).map(|finding| finding.level);
        assert_eq!(level(&config), Some(Level::Ok));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        config.store.dir = "/proc/fanfare".into();
        assert_eq!(data_directory(&config)[0].level, Level::Fail);
        assert_eq!(level(&config), Some(Level::Fail));
        config.aws.spill_bytes = 0;
        assert_eq!(level(&config), None);
    }
}
