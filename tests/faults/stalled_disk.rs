//! Case: a disk that stands still while a client goes on publishing.

use std::time::Duration;

use fanfare::config::limits;
use fanfare::wire::mqtt::codec::{Connect, Packet};
use powercut::Image;
use tempfile::tempdir;

use super::mqtt::ANYONE;
use super::mqtt_client::{Client, Q0, Q1, V5, publish, retained};
use super::power::Recorder;

/// Bytes of a publication. So many as may wait take far more than what two sockets hold, and far less than is offered.
const BYTES: usize = 16 << 10;

/// What a loopback connection holds at the most, sent and not read: both sockets' buffers.
const SOCKETS: usize = 12 << 20;

#[test]
fn a_publisher_is_not_read_while_too_much_of_its_own_waits_for_the_disk() {
    let folder = tempdir().unwrap();
    let recorder = Recorder::below(folder.path(), Image::default());
    let launch = recorder.launch();
    let launch = launch.env("FANFARE_GUESTS_ANONYMOUS_POLICY", ANYONE);
    let server = launch.start();
    let address = server.mqtt.expect("MQTT is served");
    let connect = || Client::connected(address, Connect::new(V5, "")).0;
    let (mut client, mut other) = (connect(), connect());
    let hold = |held| {
        recorder
            .control
            .hold_syncs(held)
            .expect("the file is there")
    };

    hold(true);
    // The others must not overtake it on their way to subscribers.
    let mut first = retained("stalled/first", "1", Q1);
    first.packet_id = Some(client.id());
    client.send(Packet::Publish(first));
    let behind = publish("stalled/behind", &"x".repeat(BYTES), Q0);
    let waits = limits::PUBLICATIONS_BEHIND * BYTES;
    let count = 2 * (waits + SOCKETS) / BYTES;
    let offered = client.encoded(std::iter::repeat_n(Packet::Publish(behind), count));
    let sent = client.push(&offered, Duration::from_secs(2));
    assert!(
        sent < waits + SOCKETS,
        "{sent} bytes were taken of {} that wait for the disk",
        offered.len()
    );
    assert!(sent > waits / 2, "only {sent} bytes were taken");
    // Whoever needs no disk is served meanwhile.
    other.publish("stalled/live", "2", Q0);
    other.ping();

    hold(false);
    let rest = client.push(&offered[sent..], Duration::from_secs(10));
    assert_eq!(sent + rest, offered.len());
    match client.recv() {
        Packet::PubAck(_) => {}
        other => panic!("{other:?} instead of PUBACK"),
    }
    client.publish("stalled/last", "3", Q1);
    let ended = server.terminate(Duration::from_secs(25));
    assert!(ended.status.success(), "{ended:?}");
}
