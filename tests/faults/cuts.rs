//! Cases: power cuts, a failing sync, a write that finds the disk full; all under the recorder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use powercut::{Image, Recording, Replay, Seed, Survival};
use serde_json::json;
use tempfile::tempdir;
use tokio::time::sleep;

use super::check::Seen;
use super::client::Client;
use super::ledger::Ledger;
use super::load::{Run, Session, World};
use super::power::Recorder;
use super::server::Launch;
use super::setting::{assert_kept, block_on, millis, number_from, run_on, seed};

/// Builds the disk after a cut, starts a server on it and checks every promise made before the cut.
async fn check_disk(
    image: &Image,
    disk: &Path,
    world: &World,
    ledger: &Ledger,
    seed: &mut Seed,
) -> Vec<String> {
    image.write_to(disk).expect("the disk can be written");
    let server = Launch::on(disk).start();
    let run = run_on(&server, world, ledger.clone(), seed);
    let broken = run.check_all(Seen::Leave).await;
    server.kill();
    fs::remove_dir_all(disk).expect("the disk can be removed");
    broken
}

pub fn choose_survival(seed: &mut Seed) -> Survival {
    match seed.below(4) {
        0 => Survival::Nothing,
        1 => Survival::Names,
        _ => Survival::Torn(seed.next_u64()),
    }
}

/// Positions to cut at: around syncs and anywhere, none before `first`.
pub fn choose_cuts(recording: &Recording, first: u64, count: u64, seed: &mut Seed) -> Vec<u64> {
    let end = recording.end();
    let mut boundaries = recording.sync_boundaries();
    boundaries.retain(|position| *position >= first);
    let choose = |number| match number % 3 {
        0 => first + seed.below(end - first),
        _ => *seed.pick(&boundaries),
    };
    let mut cuts: Vec<u64> = (0..count).map(choose).collect();
    cuts.sort_unstable();
    cuts
}

#[test]
fn power_cuts_lose_nothing() {
    let mut seed = seed("power cuts");
    let cuts = number_from("FANFARE_POWER_CUTS", 30);
    let generations = 3;
    let folder = tempdir().unwrap();
    block_on(async {
        let mut base = Image::default();
        let mut world = None;
        let mut ledger = Ledger::default();
        for generation in 0..generations {
            let folder = folder.path().join(generation.to_string());
            let recorder = Recorder::below(&folder, base);
            let server = recorder.launch().start();
            // Later generations cut the power during recovery, too; the first has no world before.
            let client = Client::to(server.address);
            let (here, first) = match world.take() {
                Some(world) => (world, 0),
                None => (World::create(&client, 2, 2, 2).await, recorder.clock()()),
            };
            let run = Run::new(client, here.clone(), ledger, seed.fork(), recorder.clock());
            let tasks = run.start();
            sleep(millis(1_000)).await;
            run.stop(tasks).await;
            let ended = server.terminate(Duration::from_secs(25));
            assert!(ended.status.success(), "{ended:?}");
            assert_kept(&run.broken.borrow(), "under load");

            let recording = recorder.recording();
            recording
                .check_complete(&recorder.data)
                .expect("the recorder sees every write");
            let history = run.ledger.take();
            assert!(
                history.promised() > 20,
                "the load did next to nothing: {:?}",
                run.refused
            );
            let mut replay = Replay::new(&recording);
            let mut next = None;
            let boundaries = recording.sync_boundaries();
            let first = first.max(*boundaries.first().expect("the server syncs at all"));
            for cut in choose_cuts(&recording, first, cuts / generations, &mut seed) {
                replay.advance_to(cut);
                let survival = choose_survival(&mut seed);
                let image = replay.image(survival);
                let ledger = history.as_of(cut);
                let disk = folder.join("disk");
                let broken = check_disk(&image, &disk, &here, &ledger, &mut seed).await;
                assert_kept(
                    &broken,
                    &format!("generation {generation}, cut {cut}, {survival:?}"),
                );
                next = Some((image, ledger));
            }
            println!(
                "power cuts: generation {generation} promised {} messages and {} receipts",
                history.promised(),
                history.promised_receipts()
            );
            (base, ledger) = next.expect("there is at least one cut");
            world = Some(here);
        }
    });
}

/// Whether what a session's user has read becomes what the session was told of: promises found at the start are kept
/// a moment later. Gives both back.
async fn told_and_read(run: &Run, session: &Session) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut told, mut read) = (BTreeSet::new(), BTreeSet::new());
    let begun = Instant::now();
    loop {
        let history = run
            .client
            .get(&format!("/messages/user/{}", session.user))
            .await;
        let history = history.expect("the server answers").body;
        let entries = history["messages"].as_array().expect("a list").iter();
        let is_read = entries.filter(|entry| entry["is_read"] == 1);
        read.extend(is_read.map(|entry| entry["messageId"].as_str().expect("an id").to_owned()));
        let new = run.notices(session).await.expect("the server answers");
        let drained = new.is_empty();
        told.extend(new);
        if drained && (told == read || begun.elapsed() > Duration::from_secs(3)) {
            return (told, read);
        }
    }
}

#[test]
fn a_receipt_and_the_message_that_tells_of_it_survive_together_or_not_at_all() {
    let mut seed = seed("receipts");
    let cuts = number_from("FANFARE_POWER_CUTS", 30);
    let folder = tempdir().unwrap();
    block_on(async {
        let recorder = Recorder::below(folder.path(), Image::default());
        let server = recorder.launch().start();
        let client = Client::to(server.address);
        // Before there is a session, so that its queue holds nothing but receipt messages.
        let ids: Vec<String> = (0..20).map(|number| format!("m-{number}")).collect();
        for id in &ids {
            let posted = client
                .post("/notify/user/101", &json!({"messageId": id}))
                .await;
            assert!(posted.expect("the server answers").is_success());
        }
        let world = World::create(&client, 1, 1, 1).await;
        let session = &world.sessions[0];
        assert_eq!(session.user, 101);
        let first = recorder.clock()();
        for (number, id) in ids.iter().enumerate() {
            // Now and later take turns: a promise ends with its marks, too.
            let later = if number % 2 == 0 { "" } else { "?async" };
            let path = format!("/messages/set-read/user/{}{later}", session.user);
            let receipted = client.post(&path, &json!([id])).await;
            assert!(receipted.expect("the server answers").is_success());
        }
        let ended = server.terminate(Duration::from_secs(25));
        assert!(ended.status.success(), "{ended:?}");

        let recording = recorder.recording();
        let mut replay = Replay::new(&recording);
        let mut partly = 0;
        for cut in choose_cuts(&recording, first, cuts, &mut seed) {
            replay.advance_to(cut);
            let survival = choose_survival(&mut seed);
            let disk = folder.path().join("disk");
            replay
                .image(survival)
                .write_to(&disk)
                .expect("it can be written");
            let server = Launch::on(&disk).start();
            let run = run_on(&server, &world, Ledger::default(), &mut seed);
            let (told, read) = told_and_read(&run, session).await;
            assert_eq!(told, read, "cut {cut}, {survival:?}");
            partly += usize::from(!read.is_empty() && read.len() < ids.len());
            server.kill();
            fs::remove_dir_all(&disk).expect("the disk can be removed");
        }
        assert!(partly > 0, "no cut was between two receipts");
    });
}

/// The control of the test above: a disk that lies about syncs must be found out.
#[test]
fn a_disk_that_ignores_syncs_is_caught() {
    let mut seed = seed("lying disk");
    let folder = tempdir().unwrap();
    block_on(async {
        let recorder = Recorder::below(folder.path(), Image::default());
        let server = recorder.launch().start();
        let client = Client::to(server.address);
        let world = World::create(&client, 1, 2, 1).await;
        // A kill -9 and a restart put the world beyond doubt; only what follows is at the mercy
        // of the disk.
        server.kill();
        let base = Image::read_from(&recorder.data).expect("the data can be read");
        let recorder = Recorder::below(&folder.path().join("lying"), base);
        let server = recorder.launch().start();
        let client = Client::to(server.address);
        let clock = recorder.clock();
        let run = Run::new(client, world.clone(), Ledger::default(), seed.fork(), clock);
        let tasks = run.start();
        sleep(millis(500)).await;
        server.kill();
        run.stop(tasks).await;

        let recording = recorder.recording();
        let ledger = run.ledger.take();
        assert!(
            ledger.promised() > 20,
            "the load did next to nothing: {:?}",
            run.refused
        );
        let disk = folder.path().join("disk");
        let mut replay = Replay::ignoring_syncs(&recording);
        replay.advance_to(recording.end());
        let image = replay.image(Survival::Names);
        let broken = check_disk(&image, &disk, &world, &ledger, &mut seed).await;
        assert!(
            broken.iter().any(|text| text.contains("are lost")),
            "not noticed: {broken:?}"
        );
    });
}

#[test]
fn a_failing_sync_ends_the_process_and_nothing_is_promised_after_it() {
    let mut seed = seed("failing sync");
    let folder = tempdir().unwrap();
    block_on(async {
        let recorder = Recorder::below(folder.path(), Image::default());
        let server = recorder.launch().start();
        let client = Client::to(server.address);
        let world = World::create(&client, 1, 2, 2).await;
        let ledger = Ledger::default();
        let run = Run::new(client, world.clone(), ledger, seed.fork(), recorder.clock());
        let tasks = run.start();
        sleep(millis(300)).await;
        recorder
            .control
            .fail_sync(1 + seed.below(20) as u32)
            .expect("the control file is there");
        let ended = tokio::task::spawn_blocking(|| server.wait(Duration::from_secs(10)));
        let ended = ended.await.expect("it ends");
        run.stop(tasks).await;

        assert_eq!(
            recorder
                .control
                .injected()
                .expect("the control file is there")
                .0,
            1
        );
        assert!(
            !ended.status.success(),
            "a failing disk is no success: {ended:?}"
        );
        assert!(
            ended.status.code().is_some(),
            "it ends by itself, not by a signal: {ended:?}"
        );
        let message = ended.stderr.to_lowercase();
        assert!(
            message.contains("sync") || message.contains("disk"),
            "says why: {ended:?}"
        );
        let recording = recorder.recording();
        let ledger = run.ledger.take();
        assert!(
            ledger.promised() > 5,
            "the load did next to nothing: {:?}",
            run.refused
        );
        let mut replay = Replay::new(&recording);
        replay.advance_to(recording.end());
        // `Everything` is the restart without a power cut.
        for survival in [
            Survival::Nothing,
            Survival::Torn(seed.next_u64()),
            Survival::Everything,
        ] {
            let disk = folder.path().join("disk");
            let image = replay.image(survival);
            let broken = check_disk(&image, &disk, &world, &ledger, &mut seed).await;
            assert_kept(&broken, &format!("after EIO, {survival:?}"));
        }
    });
}

#[test]
fn a_write_that_finds_the_disk_full_breaks_no_promise() {
    let mut seed = seed("full disk under a write");
    let folder = tempdir().unwrap();
    block_on(async {
        let recorder = Recorder::below(folder.path(), Image::default());
        let mut server = Some(recorder.launch().start());
        let client = Client::to(server.as_ref().expect("just started").address);
        let world = World::create(&client, 1, 2, 2).await;
        let ledger = Ledger::default();
        let run = Run::new(client, world.clone(), ledger, seed.fork(), recorder.clock());
        let tasks = run.start();
        sleep(millis(300)).await;
        // The write that crosses the line is cut short in the middle of a record.
        let bytes = 2_000 + seed.below(20_000) as u32;
        recorder
            .control
            .leave_space(bytes)
            .expect("the control file is there");
        sleep(millis(700)).await;
        assert!(
            recorder.control.injected().expect("it is there").0 > 0,
            "the disk was never full"
        );
        recorder
            .control
            .free_space()
            .expect("the control file is there");
        sleep(millis(700)).await;
        // It may have chosen to end; if it has not, it must work again.
        let before = run.ledger.borrow().promised();
        let served = tokio::time::timeout(Duration::from_secs(5), async {
            while !matches!(run.notify().await, Ok(true)) {
                sleep(millis(50)).await;
            }
        });
        let works_again = served.await.is_ok();
        if works_again {
            server.take().expect("still there").kill();
        } else {
            let server = server.take().expect("still there");
            let ended = tokio::task::spawn_blocking(|| server.wait(Duration::from_secs(1)));
            let ended = ended.await.expect("it has ended if it does not serve");
            assert!(!ended.status.success(), "{ended:?}");
        }
        run.stop(tasks).await;
        println!("full disk under a write: works again: {works_again}, {before} promised before");

        let recording = recorder.recording();
        let ledger = run.ledger.take();
        let mut replay = Replay::new(&recording);
        replay.advance_to(recording.end());
        for survival in [
            Survival::Everything,
            Survival::Nothing,
            Survival::Torn(seed.next_u64()),
        ] {
            let disk = folder.path().join("disk");
            let image = replay.image(survival);
            let broken = check_disk(&image, &disk, &world, &ledger, &mut seed).await;
            assert_kept(&broken, &format!("after ENOSPC, {survival:?}"));
        }
    });
}
