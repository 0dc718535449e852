//! Cases: a second process on the same folder, and the end on SIGTERM.

use std::time::Duration;

use serde_json::json;
use tempfile::tempdir;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::check::Seen;
use super::client::{Answer, Client, Keys, Unknown};
use super::ledger::Ledger;
use super::load::{World, path_of};
use super::server::Launch;
use super::setting::{assert_kept, block_on, millis, run_on, seed};

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Launch::on(&data).start();
    let ended = Launch::on(&data).start_and_wait(Duration::from_secs(10));
    assert!(!ended.status.success(), "{ended:?}");
    assert!(
        ended.stderr.contains(data.to_str().unwrap()),
        "names the folder: {ended:?}"
    );
    let says_why = ["in use", "another", "lock"]
        .iter()
        .any(|text| ended.stderr.contains(text));
    assert!(says_why, "says why: {ended:?}");
    // The first is none the worse for it, and its end frees the folder.
    block_on(async {
        World::create(&Client::to(server.address), 1, 1, 1).await;
    });
    server.kill();
    Launch::on(&data).start();
}

#[test]
fn an_end_is_nothing_to_be_alarmed_at() {
    let folder = tempdir().unwrap();
    let launch = Launch::on(&folder.path().join("data"));
    for _ in 0..5 {
        let ended = launch.start().terminate(Duration::from_secs(25));
        assert!(ended.status.success(), "{ended:?}");
        for word in ["ERROR", "WARN"] {
            assert!(!ended.stderr.contains(word), "{}", ended.stderr);
        }
    }
}

/// A long poll on a queue in which nothing ever arrives.
async fn poll(client: Client) -> Result<Answer, Unknown> {
    let keys = Keys::operator();
    let made = client
        .sqs("CreateQueue", None, json!({"QueueName": "idle"}), &keys)
        .await?;
    let queue = path_of(&made.body["QueueUrl"]);
    client
        .sqs(
            "ReceiveMessage",
            Some(&queue),
            json!({"WaitTimeSeconds": 20}),
            &keys,
        )
        .await
}

#[test]
fn a_drain_answers_waiting_polls_and_loses_nothing() {
    let mut seed = seed("drain");
    let folder = tempdir().unwrap();
    let launch = Launch::on(&folder.path().join("data"));
    block_on(async {
        let server = launch.start();
        let world = World::create(&Client::to(server.address), 2, 2, 2).await;
        let polls: Vec<_> = (0..8)
            .map(|_| spawn_local(poll(Client::to(server.address))))
            .collect();
        let run = run_on(&server, &world, Ledger::default(), &mut seed);
        let tasks = run.start();
        sleep(millis(500)).await;
        let ended = tokio::task::spawn_blocking(|| server.terminate(Duration::from_secs(25)));
        let ended = ended.await.expect("it ends");
        assert!(ended.status.success(), "{ended:?}");
        for poll in polls {
            let answer = poll
                .await
                .expect("no poll panics")
                .expect("a waiting poll is answered");
            assert!(answer.is_success(), "{answer:?}");
        }
        run.stop(tasks).await;
        assert!(
            run.ledger.borrow().promised() > 5,
            "next to no load: {:?}",
            run.refused
        );
        let server = launch.start();
        let run = run_on(&server, &world, run.ledger.take(), &mut seed);
        assert_kept(&run.check_all(Seen::Leave).await, "after the drain");
        println!("drain: took {:?}", ended.took);
    });
}
