//! Case: SIGKILL at random moments.

use std::time::{Duration, Instant};

use tempfile::tempdir;
use tokio::time::sleep;

use super::check::Seen;
use super::client::Client;
use super::ledger::Ledger;
use super::load::World;
use super::server::Launch;
use super::setting::{assert_kept, block_on, millis, number_from, run_on, seed};

/// Every so many kills everything is checked; after the others, one queue and one history.
const THOROUGH: u64 = 10;

#[test]
fn a_hundred_kills_lose_nothing() {
    let mut seed = seed("kills");
    let rounds = number_from("FANFARE_CRASH_ROUNDS", 100);
    let folder = tempdir().unwrap();
    let launch = Launch::on(&folder.path().join("data"));
    block_on(async {
        let begun = Instant::now();
        let mut slowest = Duration::ZERO;
        let mut server = launch.start();
        let world = World::create(&Client::to(server.address), 2, 3, 2).await;
        let mut ledger = Ledger::default();
        for round in 0..rounds {
            let run = run_on(&server, &world, ledger, &mut seed);
            let tasks = run.start();
            sleep(millis(50 + seed.below(450))).await;
            server.kill();
            run.stop(tasks).await;
            assert_kept(&run.broken.borrow(), &format!("round {round}, under load"));

            server = launch.start();
            slowest = slowest.max(server.started_in);
            let run = run_on(&server, &world, run.ledger.take(), &mut seed);
            let session = seed.pick(&world.sessions);
            let mut broken = run.glance_at_queue(session).await;
            broken.extend(run.check_history(session.user).await);
            if round % THOROUGH == THOROUGH - 1 {
                broken.extend(run.check_all(Seen::Delete).await);
            }
            broken.append(&mut run.broken.borrow_mut());
            assert_kept(&broken, &format!("after kill {round}"));
            ledger = run.ledger.take();
        }
        let run = run_on(&server, &world, ledger, &mut seed);
        let (sent, receipts, deletes) = {
            let ledger = run.ledger.borrow();
            (
                ledger.promised(),
                ledger.promised_receipts(),
                ledger.promised_deletes(),
            )
        };
        assert_kept(&run.check_all(Seen::Delete).await, "at the end");
        println!(
            "kills: {rounds} in {:?}, slowest start {slowest:?}, promised: {sent} messages, \
             {deletes} deletions, {receipts} receipts",
            begun.elapsed()
        );
        let enough = |count: usize| count as u64 >= rounds;
        assert!(
            enough(sent) && enough(deletes) && enough(receipts),
            "the load did next to nothing"
        );
    });
}
