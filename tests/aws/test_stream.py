"""The stream at Kinesis, read by nodes: order, poison, shares of shards, nodes that come, go and die, splits and merges."""

import json
import time

import pytest

from queues import drain, drain_placed
from streams import CONSUME, Load, Stream, metric, wait_for
from test_faults import spoiling

#: Their keys are in each of four shards, and of two.
USERS = (1, 2, 4, 6, 7, 9)


def sessions_of(node, users=USERS):
    """A session for each of these users."""
    return {user: node.create(1, f"s{user}", user) for user in users}


def test_a_stream_is_relayed_in_the_order_of_each_key(cluster):
    """More records than one read brings, and more than are looked up together, with poison in the middle."""
    stream = Stream(cluster, shards=2)
    operator = cluster.node()
    sessions = sessions_of(operator)
    poison = [b"", b"c4nary", b"[1]", b'{"userId":"c4nary"}', b'{"a":1,"a":"c4nary"}', b"\xf3\x89\x9a\xc2c4nary"]
    for at in range(300):
        stream.put(USERS, text="x" * 100)
        if at % 50 == 25:
            stream.put_raw(poison[at // 50], key=str(at))
    node = cluster.node(**CONSUME)
    assert stream.check(sessions) == [], "nothing came twice"
    skipped = metric(node, "fanfare_stream_records_skipped_total")
    assert (skipped, metric(node, "fanfare_stream_records_total")) == (6, 1806)
    assert metric(node, "fanfare_stream_leases") == 2
    wait_for(lambda: metric(node, "fanfare_stream_held_bytes") == 0, 5)
    assert metric(node, "fanfare_stream_behind_seconds") == 0
    assert node.server.log.count("a stream record is no message and is skipped") == 6
    assert "c4nary" not in node.server.log
    assert operator.unread(1) == 300


def test_who_a_record_is_for_is_up_to_it(cluster):
    """Users, accounts, sessions, everyone and nobody, in one shard: all in the order of the shard."""
    stream = Stream(cluster, shards=1)
    node = cluster.node(**CONSUME)
    one, two = node.create(1, "one", 7), node.create(2, "two", 8)
    wait_for(lambda: metric(node, "fanfare_stream_leases") == 1, 15)
    targets = [{"userId": 7}, {"accountId": 1}, {}, {"sessionId": "one", "accountId": 1}, {"userId": 99}, {"userId": 8}]
    for n in range(60):
        stream.put_raw(json.dumps({"n": n, **targets[n % 6]}))

    def numbers(session, count):
        placed = []
        wait_for(lambda: placed.extend(drain_placed(cluster, session)) or len(placed) >= count, 15)
        return [message["n"] for _, message in sorted(placed, key=lambda one: one[0])]

    assert numbers(one, 40) == [n for n in range(60) if n % 6 in (0, 1, 2, 3)]
    assert numbers(two, 20) == [n for n in range(60) if n % 6 in (2, 5)]
    assert node.unread(99) == 10, "a user without sessions has history"


def test_reading_goes_on_from_where_it_was(cluster):
    stream = Stream(cluster, shards=1)
    sessions = sessions_of(cluster.node(), [1])
    stream.put([1])
    stream.put_records.clear()
    latest = {"FANFARE_AWS_CONSUME": "latest"}
    time.sleep(0.1)
    node = cluster.node(**latest)
    for _ in range(50):
        stream.put([1])
    assert stream.check(sessions) == [], "what was put before the first node is not relayed, and nothing twice"
    node.server.stop()
    assert list(stream.owners()) == [None], "the lease is given back"
    for _ in range(50):
        stream.put([1])
    cluster.node(**latest)
    assert stream.check(sessions, within=8) == [], "what was put while no node read is relayed, and nothing else"


def test_nodes_share_the_shards_and_give_them_back_in_order(cluster):
    stream = Stream(cluster, shards=4)
    first = cluster.node(**CONSUME)
    sessions = sessions_of(first)
    with Load(stream, USERS):
        wait_for(lambda: list(stream.owners().values()) == [4], 15)
        second = cluster.node(**CONSUME)
        wait_for(lambda: sorted(stream.owners().values()) == [2, 2] and None not in stream.owners(), 15)
        assert (metric(first, "fanfare_stream_leases"), metric(second, "fanfare_stream_leases")) == (2, 2)
        time.sleep(1)
        second.server.stop()
        # Sooner than a node that is silent is given up: it has taken its row away.
        wait_for(lambda: list(stream.owners().values()) == [4] and None not in stream.owners(), 5)
    assert stream.check(sessions) == [], "no record is relayed twice because a node comes or goes"


def test_a_killed_nodes_shards_are_read_on_within_fifteen_seconds(cluster):
    stream = Stream(cluster, shards=4)
    nodes = [cluster.node(**CONSUME), cluster.node(**CONSUME)]
    sessions = sessions_of(nodes[0])
    with Load(stream, USERS):
        wait_for(lambda: sorted(stream.owners().values()) == [2, 2] and None not in stream.owners(), 20)
        time.sleep(2)
        nodes[0].server.kill()
        killed = time.monotonic()
        checkpoints = {shard: checkpoint for shard, (_, checkpoint) in stream.leases().items()}
        wait_for(lambda: list(stream.owners().values()) == [4] and None not in stream.owners(), 15)
        moved = lambda: all(stream.leases()[shard][1] != at for shard, at in checkpoints.items())  # noqa: E731
        wait_for(moved, 15 - (time.monotonic() - killed))
        print(f"the other node relays the records of all shards {time.monotonic() - killed:.1f} s after the kill")
    for id in stream.check(sessions):
        shard, number = id.split(":")
        at = checkpoints[shard]
        assert not at.isdigit() or int(number) > int(at), "twice only what was not behind the checkpoint"


def test_shards_that_are_split_and_merged_under_load_keep_the_order_of_each_key(cluster):
    stream = Stream(cluster, shards=1)
    nodes = [cluster.node(**CONSUME), cluster.node(**CONSUME)]
    sessions = sessions_of(nodes[0])
    with Load(stream, USERS):
        wait_for(lambda: list(stream.owners().values()) == [1] and None not in stream.owners(), 20)
        stream.wait_for_more()
        stream.split("shardId-000000000000")
        wait_for(lambda: sorted(stream.owners().values()) == [1, 1] and None not in stream.owners(), 20)
        assert stream.leases()["shardId-000000000000"][1] == "SHARD_END"
        stream.wait_for_more()
        stream.merge("shardId-000000000001", "shardId-000000000002")
        wait_for(lambda: set(stream.leases()) >= {"shardId-000000000003"}, 20)
        wait_for(lambda: list(stream.owners().values()) == [1] and None not in stream.owners(), 20)
        stream.wait_for_more()
    assert stream.check(sessions) == []
    assert {id.split(":")[0][-1] for id in stream.put_records} == {"0", "1", "2", "3"}, "all of them had records"


def test_children_wait_until_their_parent_is_read_to_its_end(cluster):
    """More than one read brings is in the parent, when there are newer records in its children already."""
    stream = Stream(cluster, shards=1)
    sessions = sessions_of(cluster.node())
    for _ in range(300):
        stream.put(USERS)
    stream.split("shardId-000000000000")
    for _ in range(20):
        stream.put(USERS)
    cluster.node(**CONSUME)
    assert stream.check(sessions) == []


def test_a_stream_is_relayed_while_services_fail(cluster):
    stream = Stream(cluster, shards=2)
    sqs, dynamodb, kinesis = (cluster.proxy(name) for name in ("SQS", "DYNAMODB", "KINESIS"))
    sessions = sessions_of(cluster.node())
    places = {
        "FANFARE_AWS_SQS_ENDPOINT": sqs.url,
        "FANFARE_AWS_DYNAMODB_ENDPOINT": dynamodb.url,
        "FANFARE_AWS_KINESIS_ENDPOINT": kinesis.url,
    }
    node = cluster.node(**CONSUME, **places)
    any_way = ["throttle", "fail", "cut"]
    kinesis.rule = spoiling(4, 0.4, {"GetRecords": [*any_way, "expire"], "GetShardIterator": any_way})
    sqs.rule = spoiling(5, 0.4, {"SendMessageBatch": [*any_way, "lose", "part"]})
    writes = {"BatchWriteItem": [*any_way, "part"], "UpdateItem": [*any_way, "lose"], "Query": any_way}
    dynamodb.rule = spoiling(6, 0.2, writes)
    with Load(stream, USERS):
        time.sleep(8)
    # A batch that SQS does in part is out of order: it was a standard queue's already.
    stream.check(sessions, within=60, in_order=False)
    for proxy, operation in ((kinesis, "GetRecords"), (sqs, "SendMessageBatch"), (dynamodb, "UpdateItem")):
        assert proxy.spoiled.get(operation, 0) >= 3, (operation, proxy.spoiled)
    assert metric(node, "fanfare_stream_records_given_up_total") == 0


def test_the_checkpoint_stands_while_a_service_is_down(cluster):
    stream = Stream(cluster, shards=1)
    sqs = cluster.proxy("SQS")
    node = cluster.node(FANFARE_AWS_SQS_ENDPOINT=sqs.url, FANFARE_AWS_PATIENCE="1", **CONSUME)
    sessions = sessions_of(node, [1])
    wait_for(lambda: list(stream.owners().values()) == [1] and None not in stream.owners(), 15)
    sqs.rule = lambda operation, _: "fail" if operation == "SendMessageBatch" else None
    for _ in range(20):
        stream.put([1])
    wait_for(lambda: node.server.log.count("records wait to be relayed") >= 2, 15)
    assert stream.leases()["shardId-000000000000"][1] == "TRIM_HORIZON"
    sqs.rule = lambda operation, _: None
    stream.check(sessions)
    last = max(int(id.split(":")[1]) for id in stream.put_records)
    wait_for(lambda: stream.leases()["shardId-000000000000"][1] == str(last), 5)


def test_what_is_refused_for_good_is_given_up_and_the_shard_goes_on(cluster):
    stream = Stream(cluster, shards=1)
    sqs = cluster.proxy("SQS")
    node = cluster.node(FANFARE_AWS_SQS_ENDPOINT=sqs.url, **CONSUME)
    bad, sessions = node.create(1, "bad", 99), sessions_of(node, [1, 2])
    url = bad["sqsUrl"].encode()
    sqs.rule = lambda operation, body: "deny" if operation == "SendMessageBatch" and url in body else None
    stream.put([1, 2])
    stream.put_raw(json.dumps({"userId": 99, "text": "c4nary"}))
    stream.put([1, 2])
    stream.check(sessions)
    wait_for(lambda: metric(node, "fanfare_stream_records_given_up_total") == 1, 30)
    assert sqs.spoiled["SendMessageBatch"] == 8, "as often as it is tried"
    assert node.server.log.count("a record is given up") == 1 and "c4nary" not in node.server.log
    stream.put([1, 2])
    stream.check(sessions)
    assert drain(cluster, bad) == ([], [])


def test_an_iterator_that_is_too_old_is_asked_for_anew(cluster):
    stream = Stream(cluster, shards=1)
    kinesis = cluster.proxy("KINESIS")
    node = cluster.node(FANFARE_AWS_KINESIS_ENDPOINT=kinesis.url, **CONSUME)
    sessions = sessions_of(node, [1])
    stream.put([1])
    stream.check(sessions)
    asked = kinesis.calls["GetShardIterator"]
    is_old = lambda: kinesis.calls["GetShardIterator"] == asked  # noqa: E731
    kinesis.rule = lambda operation, _: "expire" if operation == "GetRecords" and is_old() else None
    stream.put([1])
    assert stream.check(sessions) == [], "it goes on from where it was"
    assert kinesis.spoiled == {"GetRecords": 1}


@pytest.mark.parametrize("operation", ["beats", "everything"])
def test_a_node_that_can_not_reach_its_leases_reads_no_more(cluster, operation):
    """It can not know whether another has them: so another may take them."""
    stream = Stream(cluster, shards=1)
    dynamodb = cluster.proxy("DYNAMODB")
    cut_off = cluster.node(FANFARE_AWS_DYNAMODB_ENDPOINT=dynamodb.url, **CONSUME)
    sessions = sessions_of(cut_off, [1])
    wait_for(lambda: list(stream.owners().values()) == [1] and None not in stream.owners(), 15)
    [owner] = stream.owners()
    other = cluster.node(**CONSUME)
    with Load(stream, [1]):
        spoiled = lambda body: operation == "everything" or b"leaseCounter" in body  # noqa: E731
        dynamodb.rule = lambda _, body: "cut" if spoiled(body) else None
        wait_for(lambda: stream.owners().get(owner) is None and None not in stream.owners(), 20)
        assert metric(other, "fanfare_stream_leases") == 1
        wait_for(lambda: metric(cut_off, "fanfare_stream_leases") == 0, 5)
        time.sleep(1)
        dynamodb.rule = lambda operation, _: None
    stream.check(sessions)


def test_a_stream_that_is_not_there_is_named_at_the_start(cluster):
    cluster.command("aws", "provision", "--only", "table", **CONSUME)
    with pytest.raises(RuntimeError, match="Kinesis has no stream .*-sqs-browser-event-dispatcher"):
        cluster.node(**CONSUME)
