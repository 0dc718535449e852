//! The recorder and the replay on real processes: a plain file writer and a fjall database. Each
//! test has a control, the same writer without its sync, which must be seen to lose data.

#![expect(
    clippy::unwrap_used,
    reason = "the functions that tests share are tests, too"
)]

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use powercut::{Control, Image, Recording, Replay, Seed, Survival};
use tempfile::TempDir;

const ROLE: &str = "POWERCUT_TEST_ROLE";
const ROUNDS: u64 = 400;

/// The other process: does what its role says, or nothing if the test runner started it.
#[test]
fn child() {
    let Ok(role) = env::var(ROLE) else { return };
    let folder = PathBuf::from(env::var(powercut::ENV_FOLDER).unwrap());
    match role.as_str() {
        "file" => append_lines(&folder, true),
        "file-unsynced" => append_lines(&folder, false),
        "replace" => replace_file(&folder, true),
        "replace-unsynced" => replace_file(&folder, false),
        "fjall" => commit_batches(&folder, PersistMode::SyncData, true),
        "fjall-unsynced" => commit_batches(&folder, PersistMode::Buffer, true),
        "fjall-folder-unsynced" => commit_batches(&folder, PersistMode::SyncData, false),
        other => panic!("no role {other}"),
    }
}

/// Says that `number` is safe.
fn acknowledge(number: u64) {
    eprintln!("ack {number}");
}

fn append_lines(folder: &Path, sync: bool) {
    let mut file = File::create(folder.join("lines")).unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
    for number in 0..ROUNDS {
        if let Err(error) = writeln!(file, "{number}") {
            eprintln!("error {error}");
            return;
        }
        if sync && let Err(error) = file.sync_data() {
            eprintln!("error {error}");
            return;
        }
        acknowledge(number);
    }
}

/// The write-rename-sync dance, with or without the sync of the folder.
fn replace_file(folder: &Path, sync: bool) {
    for number in 0..50 {
        let next = folder.join("next");
        let mut file = File::create(&next).unwrap();
        write!(file, "{number}").unwrap();
        file.sync_all().unwrap();
        fs::rename(&next, folder.join("lines")).unwrap();
        if sync {
            File::open(folder).unwrap().sync_all().unwrap();
        }
        acknowledge(number);
    }
}

fn value_of(number: u64) -> Vec<u8> {
    number.to_string().repeat(100).into_bytes()
}

fn commit_batches(folder: &Path, mode: PersistMode, sync_folder: bool) {
    let database = Database::builder(folder.join("db")).open().unwrap();
    let rows = database
        .keyspace("rows", KeyspaceCreateOptions::default)
        .unwrap();
    let marks = database
        .keyspace("marks", KeyspaceCreateOptions::default)
        .unwrap();
    if sync_folder {
        File::open(folder).unwrap().sync_all().unwrap();
        File::open(folder.join("db/keyspaces"))
            .unwrap()
            .sync_all()
            .unwrap();
    }
    for number in 0..ROUNDS {
        let mut batch = database.batch().durability(Some(mode));
        batch.insert(&rows, number.to_be_bytes(), value_of(number));
        batch.insert(&marks, "last", number.to_be_bytes());
        batch.commit().unwrap();
        acknowledge(number);
        if number % 100 == 99 {
            rows.rotate_memtable_and_wait().unwrap();
        }
    }
}

struct Run {
    folder: TempDir,
    recording: Recording,
    /// What was acknowledged, with the position of the log when that was seen.
    acks: Vec<(u64, u64)>,
    errors: Vec<String>,
}

/// The preload library stands next to the test binary; cargo builds it as a dependency.
fn library() -> PathBuf {
    let path = env::current_exe()
        .unwrap()
        .with_file_name(powercut::LIBRARY);
    assert!(path.exists(), "{} was not built", path.display());
    path
}

fn run(role: &str, prepare: impl FnOnce(&Control)) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let log = folder.path().join("log");
    fs::create_dir(&data).unwrap();
    let control = Control::create(&folder.path().join("control")).unwrap();
    prepare(&control);
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env("LD_PRELOAD", library())
        .env(powercut::ENV_FOLDER, &data)
        .env(powercut::ENV_LOG, &log)
        .env(powercut::ENV_CONTROL, folder.path().join("control"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut acks, mut errors) = (Vec::new(), Vec::new());
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.strip_prefix("ack ") {
            Some(number) => acks.push((number.parse().unwrap(), fs::metadata(&log).unwrap().len())),
            None => errors.push(line),
        }
    }
    assert!(child.wait().unwrap().success(), "{errors:?}");
    let recording = Recording::load(&log, Image::default()).unwrap();
    recording.check_complete(&data).unwrap();
    Run {
        folder,
        recording,
        acks,
        errors,
    }
}

impl Run {
    /// Cuts the power `count` times around syncs and as often anywhere, in every way there is, and gives each disk
    /// and the acknowledged numbers to `is_lost`. Returns how many disks had lost something.
    fn cuts(
        &self,
        count: usize,
        mut replay: Replay<'_>,
        is_lost: impl Fn(&Path, &[u64]) -> bool,
    ) -> usize {
        let mut seed = Seed::new(42);
        let boundaries = self.recording.sync_boundaries();
        let end = self.recording.end();
        let first = boundaries.first().copied().unwrap_or(end);
        let mut positions = vec![end];
        for _ in 0..count {
            positions.extend([*seed.pick(&boundaries), first + seed.below(end - first)]);
        }
        positions.sort_unstable();
        let mut lost = 0;
        for position in positions {
            replay.advance_to(position);
            let safe = self.acks.iter().filter(|(_, at)| *at <= position);
            let safe: Vec<u64> = safe.map(|(number, _)| *number).collect();
            for survival in [
                Survival::Nothing,
                Survival::Names,
                Survival::Torn(seed.next_u64()),
            ] {
                let disk = self.folder.path().join("disk");
                replay.image(survival).write_to(&disk).unwrap();
                lost += usize::from(is_lost(&disk, &safe));
                fs::remove_dir_all(disk).unwrap();
            }
        }
        lost
    }
}

fn lines_lost(disk: &Path, safe: &[u64]) -> bool {
    // A torn tail may hold anything; what was acknowledged stands before it.
    let text = fs::read(disk.join("lines")).unwrap_or_default();
    let expect: String = safe.iter().map(|number| format!("{number}\n")).collect();
    !text.starts_with(expect.as_bytes())
}

fn replaced_lost(disk: &Path, safe: &[u64]) -> bool {
    let text = fs::read_to_string(disk.join("lines")).unwrap_or_default();
    safe.last()
        .is_some_and(|last| text.parse::<u64>().map_or(true, |found| found < *last))
}

fn rows_lost(disk: &Path, safe: &[u64]) -> bool {
    let database = match Database::builder(disk.join("db")).open() {
        Ok(database) => database,
        // Before the first acknowledgement the database need not be there at all.
        Err(_) if safe.is_empty() => return false,
        Err(error) => panic!("does not open after the cut: {error}"),
    };
    let rows = database
        .keyspace("rows", KeyspaceCreateOptions::default)
        .unwrap();
    let marks = database
        .keyspace("marks", KeyspaceCreateOptions::default)
        .unwrap();
    let last = marks
        .get("last")
        .unwrap()
        .map(|it| u64::from_be_bytes(it[..].try_into().unwrap()));
    let found = rows.iter().map(|row| row.into_inner().unwrap());
    let found: Vec<u64> = found
        .map(|(key, value)| {
            let number = u64::from_be_bytes(key[..].try_into().unwrap());
            assert!(value[..] == value_of(number), "row {number} is damaged");
            number
        })
        .collect();
    // Batches are atomic: every row up to the mark is there, and none after it.
    found != (0..last.map_or(0, |last| last + 1)).collect::<Vec<_>>() || last < safe.last().copied()
}

#[test]
fn synced_lines_survive_and_unsynced_ones_do_not() {
    let run = run("file", |_| {});
    assert_eq!(run.acks.len() as u64, ROUNDS);
    assert_eq!(run.cuts(20, Replay::new(&run.recording), lines_lost), 0);
    assert!(run.cuts(20, Replay::ignoring_syncs(&run.recording), lines_lost) > 0);

    let careless = self::run("file-unsynced", |_| {});
    assert!(careless.cuts(20, Replay::new(&careless.recording), lines_lost) > 0);
}

#[test]
fn a_rename_survives_only_with_the_sync_of_its_folder() {
    let run = run("replace", |_| {});
    assert_eq!(run.cuts(20, Replay::new(&run.recording), replaced_lost), 0);

    let careless = self::run("replace-unsynced", |_| {});
    assert!(careless.cuts(20, Replay::new(&careless.recording), replaced_lost) > 0);
}

#[test]
fn a_database_that_syncs_its_commits_loses_none() {
    let run = run("fjall", |_| {});
    assert_eq!(run.acks.len() as u64, ROUNDS);
    assert_eq!(run.cuts(20, Replay::new(&run.recording), rows_lost), 0);
}

/// fjall 3.1.13 does not sync the folder `keyspaces` when it makes a keyspace in it, so whoever
/// uses it has to. When this test fails, that is mended and our sync can go.
#[test]
fn a_new_keyspace_is_lost_unless_its_parent_folder_is_synced() {
    let run = run("fjall-folder-unsynced", |_| {});
    assert!(run.cuts(10, Replay::new(&run.recording), rows_lost) > 0);
}

#[test]
fn a_database_that_does_not_sync_is_caught() {
    let run = run("fjall-unsynced", |_| {});
    assert!(run.cuts(10, Replay::new(&run.recording), rows_lost) > 0);
}

#[test]
fn a_sync_made_to_fail_loses_its_bytes() {
    let run = run("file", |control| control.fail_sync(12).unwrap());
    // The first sync is that of the folder, so ten lines are acknowledged and the eleventh is not.
    assert_eq!(run.acks.len(), 10);
    assert!(
        run.errors.iter().any(|line| line.contains("os error 5")),
        "{:?}",
        run.errors
    );
    assert_eq!(run.cuts(20, Replay::new(&run.recording), lines_lost), 0);
}

#[test]
fn a_full_disk_cuts_a_write_short_and_then_refuses() {
    let run = run("file", |control| control.leave_space(5).unwrap());
    // "0\n1\n" fits, of "2\n" one byte.
    assert_eq!(run.acks.len(), 2);
    assert!(
        run.errors.iter().any(|line| line.contains("os error 28")),
        "{:?}",
        run.errors
    );
    assert_eq!(run.cuts(20, Replay::new(&run.recording), lines_lost), 0);
}

#[test]
fn a_write_past_the_library_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let run = run("file", |_| {});
    let disk = folder.path().join("disk");
    let mut replay = Replay::new(&run.recording);
    replay.advance_to(run.recording.end());
    replay.image(Survival::Everything).write_to(&disk).unwrap();
    run.recording.check_complete(&disk).unwrap();
    let mut file = OpenOptions::new()
        .append(true)
        .open(disk.join("lines"))
        .unwrap();
    file.write_all(b"behind its back").unwrap();
    let error = run.recording.check_complete(&disk).unwrap_err();
    assert!(
        error.to_string().contains("lines differs from byte"),
        "{error}"
    );
}
