//! What every case starts with: its seed, a runtime, a run.

use std::env;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use powercut::Seed;

use super::client::Client;
use super::ledger::Ledger;
use super::load::{Run, World};
use super::server::Server;

/// The number in an environment variable.
pub fn number_from(variable: &str, default: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
        Err(_) => default,
    }
}

/// The seed of this run, printed so that a failure can be repeated.
pub fn seed(test: &str) -> Seed {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970");
    let seed = number_from("FANFARE_CRASH_SEED", now.subsec_nanos().into());
    println!("{test}: FANFARE_CRASH_SEED={seed}");
    Seed::new(seed)
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be built");
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

pub fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[track_caller]
pub fn assert_kept(broken: &[String], when: &str) {
    assert!(
        broken.is_empty(),
        "{when}: {} broken promises:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

/// A run on `server` outside of any recording.
pub fn run_on(server: &Server, world: &World, ledger: Ledger, seed: &mut Seed) -> Rc<Run> {
    Run::new(
        Client::to(server.address),
        world.clone(),
        ledger,
        seed.fork(),
        || 0,
    )
}

/// Tries `attempt` until it gives `wanted` or `limit` has passed.
pub async fn becomes<F: Future<Output = bool>>(limit: Duration, attempt: impl Fn() -> F) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed() < limit {
        if attempt().await {
            return true;
        }
        tokio::time::sleep(millis(50)).await;
    }
    false
}
