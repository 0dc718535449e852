//! Cases: power cuts, a failing sync and a full disk under the folder of messages that AWS did not take.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use fanfare::backends::aws::spill::errand::Errand;
use fanfare::backends::aws::spill::folder::Folder;
use fanfare::backends::plane::Parcel;
use fanfare::domain::{MessageId, Target, Timestamp, UserId};
use powercut::{Image, Recording, Replay};
use tempfile::{TempDir, tempdir};

use super::cuts::{choose_cuts, choose_survival};
use super::power::Recorder;
use super::setting::{number_from, seed};

/// Tells the other process where its data is.
const DATA: &str = "FANFARE_SPILL_CHILD";

/// Files that the other process writes, each with two messages.
const FILES: u64 = 60;

fn errand(id: u64) -> Errand {
    Errand {
        parcel: Parcel {
            target: Target::default(),
            message_id: MessageId::parse(&id.to_string()).expect("a number is a message id"),
            kind: None,
            keep: true,
            body: Bytes::from(id.to_string().repeat(300)),
            text: Bytes::new(),
            now: Timestamp(id),
        },
        sessions: None,
        users: vec![UserId(7)],
    }
}

/// The other process: keeps messages, and removes some again. It says what it was promised and what it gives up, each with
/// the place in the recorder's log.
#[test]
fn child() {
    let Some(data) = env::var_os(DATA) else {
        return;
    };
    let log = env::var(powercut::ENV_LOG).expect("it is recorded");
    let say = |word: &str, id: u64| {
        let at = fs::metadata(&log).expect("there is a log").len();
        eprintln!("{word} {id} {at}");
    };
    let folder = Folder::open(Path::new(&data).join("spill"), 1 << 30).expect("it is made");
    for number in 0..FILES {
        let ids = [2 * number, 2 * number + 1];
        let errands = ids.map(errand);
        let room = |errand: &Errand| folder.reserve(errand.bytes()).expect("there is room");
        match folder.add(&errands, errands.iter().map(room).collect()) {
            Ok(()) => ids.iter().for_each(|id| say("promised", *id)),
            Err(_) => ids.iter().for_each(|id| say("refused", *id)),
        }
        // Of what may have been delivered, all or a part.
        let (left, done) = match number % 4 {
            1 => (&errands[..0], &ids[..]),
            3 => (&errands[..1], &ids[1..]),
            _ => continue,
        };
        done.iter().for_each(|id| say("done", *id));
        let _may_fail_and_be_done_again = folder.keep(number, left);
    }
}

/// What the other process said, and what it wrote.
struct Run {
    folder: TempDir,
    recording: Recording,
    said: Vec<(String, u64, u64)>,
}

fn run(prepare: impl FnOnce(&Recorder)) -> Run {
    let folder = tempdir().expect("a folder can be made");
    let recorder = Recorder::below(folder.path(), Image::default());
    prepare(&recorder);
    let mut command = Command::new(env::current_exe().expect("a test knows where it is"));
    command
        .args(["--exact", "faults::spill_cuts::child", "--nocapture"])
        .env(DATA, &recorder.data)
        .stdout(Stdio::null());
    let ended = recorder.record(&mut command).output();
    let ended = ended.expect("it starts");
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{text}");
    let words = |line: &str| {
        let mut words = line.split(' ');
        let (word, id, at) = (words.next()?, words.next()?, words.next()?);
        Some((word.to_owned(), id.parse().ok()?, at.parse().ok()?))
    };
    let recording = recorder.recording();
    recording
        .check_complete(&recorder.data)
        .expect("the recorder sees every write");
    Run {
        folder,
        recording,
        said: text.lines().filter_map(words).collect(),
    }
}

impl Run {
    fn count(&self, word: &str) -> usize {
        self.said.iter().filter(|(said, ..)| said == word).count()
    }

    /// What had been promised by then and not been given up.
    fn owed(&self, position: u64) -> BTreeSet<u64> {
        let of = |word: &str| -> BTreeSet<u64> {
            let said = self.said.iter();
            let by_then = said.filter(|(said, _, at)| said == word && *at <= position);
            by_then.map(|(_, id, _)| *id).collect()
        };
        &of("promised") - &of("done")
    }

    /// Cuts the power in many places: how many disks had lost something, or had a file that is torn.
    fn lost(&self, name: &str, mut replay: Replay<'_>) -> usize {
        let mut seed = seed(name);
        let cuts = number_from("FANFARE_POWER_CUTS", 30);
        let first = self.recording.sync_boundaries()[0];
        let mut positions = choose_cuts(&self.recording, first, cuts, &mut seed);
        positions.push(self.recording.end());
        let mut is_lost = |position: &u64| {
            replay.advance_to(*position);
            let disk = self.folder.path().join("disk");
            let image = replay.image(choose_survival(&mut seed));
            image.write_to(&disk).expect("the disk can be written");
            let found = ids_on(&disk.join("spill"));
            fs::remove_dir_all(disk).expect("the disk can be removed");
            found.is_none_or(|found| !self.owed(*position).is_subset(&found))
        };
        positions.iter().filter(|at| is_lost(at)).count()
    }
}

/// The messages in a folder; `None` if a file can not be read.
fn ids_on(path: &Path) -> Option<BTreeSet<u64>> {
    let folder = Folder::open(path.to_owned(), 1 << 30).expect("it opens after a cut");
    let mut found = BTreeSet::new();
    for number in 0..FILES {
        if path.join(format!("{number:020}.errands")).exists() {
            let errands = folder.read(number).ok()?;
            found.extend(errands.iter().map(|errand| errand.parcel.now.micros()));
        }
    }
    Some(found)
}

#[test]
fn power_cuts_lose_no_spilled_message() {
    let run = run(|_| {});
    assert_eq!(run.count("promised") as u64, 2 * FILES);
    let name = "cuts of spilled messages";
    assert_eq!(run.lost(name, Replay::new(&run.recording)), 0);
    let careless = Replay::ignoring_syncs(&run.recording);
    assert!(
        run.lost(name, careless) > 0,
        "a disk without syncs is noticed"
    );
}

#[test]
fn a_disk_that_fails_or_is_full_refuses_and_keeps_what_it_has() {
    let run = |prepare: fn(&Recorder), refused: &dyn Fn(usize) -> bool| {
        let run = self::run(prepare);
        assert!(refused(run.count("refused")), "{}", run.count("refused"));
        let name = "cuts beside a failing disk";
        assert_eq!(run.lost(name, Replay::new(&run.recording)), 0);
    };
    let fail = |recorder: &Recorder| recorder.control.fail_sync(40).expect("it can be told");
    run(fail, &|refused| refused <= 2);
    let fill = |recorder: &Recorder| {
        recorder
            .control
            .leave_space(30_000)
            .expect("it can be told")
    };
    run(fill, &|refused| refused > 20);
}
