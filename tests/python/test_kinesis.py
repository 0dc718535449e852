"""Messages by Kinesis (SEMANTICS 4, WIRE 5): the same objects, by a stream."""

import json
import re

import pytest

from backends import NO_ORDER, OF_ONE_NODE
from expect import eventually, refused
from fanfare import Fanfare, fresh_id
from server import AWS_ACCOUNT, REGION, STREAM

ARN = f"arn:aws:kinesis:{REGION}:{AWS_ACCOUNT}:stream/{STREAM}"
LAST_HASH_KEY = 2**128 - 1


@pytest.fixture(scope="module")
def kinesis(fanfare):
    return fanfare.client("kinesis")


def put(kinesis, message, key="p", **arguments):
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return kinesis.put_record(StreamName=STREAM, Data=data, PartitionKey=key, **arguments)


def test_records_reach_every_kind_of_target(fanfare, kinesis):
    red, blue, ann, bob = (fresh_id() for _ in range(4))
    ann_1, ann_2 = fanfare.create(red, "one", ann), fanfare.create(red, "two", ann)
    bob_red, bob_blue = fanfare.create(red, "three", bob), fanfare.create(blue, "one", bob)
    for msg, fields in [
        ("account", {"accountId": red}),
        ("user", {"userId": bob}),
        ("account and user", {"accountId": blue, "userId": bob}),
        ("session", {"accountId": red, "sessionId": "two"}),
        ("all three", {"accountId": red, "userId": ann, "sessionId": "one"}),
        ("nobody", {"accountId": blue, "userId": ann}),
    ]:
        put(kinesis, {"msg": msg, **fields}, key=str(red))
    assert ann_1.texts(2) == ["account", "all three"]
    assert ann_2.texts(2) == ["account", "session"]
    assert bob_red.texts(2) == ["account", "user"]
    assert bob_blue.texts(2) == ["user", "account and user"]
    assert {m["msg"] for m in fanfare.history(ann)} >= {"account", "session", "all three"}


def test_a_record_without_target_reaches_everyone(start_server):
    alone = Fanfare(start_server().url)
    sessions = [alone.create(), alone.create(user=3)]
    put(alone.client("kinesis"), {"msg": "all"})
    assert [session.texts(1) for session in sessions] == [["all"], ["all"]]
    assert [m["msg"] for m in alone.history(3)] == ["all"]


def test_an_accepted_record_is_durable(start_server):
    server = start_server()
    before = Fanfare(server.url)
    session = before.create(user=4)
    put(before.client("kinesis"), {"userId": 4, "msg": "kept"})
    server.kill()
    server.start()
    after = Fanfare(server.url)
    session.description["sqsUrl"] = after.status(session.description)["sqsUrl"]
    session.fanfare = after
    assert session.texts(1) == ["kept"]
    assert [m["msg"] for m in after.history(4)] == ["kept"]


@NO_ORDER
def test_one_shard_keeps_its_order(fanfare, kinesis):
    session = fanfare.create(user=fresh_id())
    numbers = []
    for n in range(0, 60, 20):
        records = [
            {"Data": json.dumps({"userId": session["userId"], "msg": m}).encode(), "PartitionKey": "same"}
            for m in range(n, n + 20)
        ]
        answer = kinesis.put_records(StreamName=STREAM, Records=records)
        assert answer["FailedRecordCount"] == 0 and len(answer["Records"]) == 20
        numbers += [int(record["SequenceNumber"]) for record in answer["Records"]]
        assert len({record["ShardId"] for record in answer["Records"]}) == 1
    assert numbers == sorted(set(numbers))
    assert session.texts(60) == list(range(60))


def test_what_a_put_answers(kinesis):
    first, second = put(kinesis, {"accountId": fresh_id()}), put(kinesis, {"accountId": fresh_id()})
    for answer in (first, second):
        assert re.fullmatch(r"shardId-\d{12}", answer["ShardId"])
        assert re.fullmatch(r"0|[1-9]\d{0,128}", answer["SequenceNumber"])
    assert int(second["SequenceNumber"]) > int(first["SequenceNumber"])


@pytest.mark.parametrize(
    "poison", [b"", b"{", b"[]", b"null", b"7", b'"text"', b"\xff\x00", b'{"userId":"many"}', b'{"accountId":{}}']
)
def test_a_record_that_is_no_message_is_skipped(fanfare, kinesis, poison):
    session = fanfare.create(user=fresh_id())
    put(kinesis, poison)
    put(kinesis, {"userId": session["userId"], "msg": "after the poison"})
    assert session.texts(1) == ["after the poison"]


@OF_ONE_NODE
def test_skipped_records_are_counted(start_server):
    alone = Fanfare(start_server().url)
    kinesis = alone.client("kinesis")

    def total():
        text = alone.raw("GET", "/metrics").text
        lines = [line for line in text.splitlines() if re.match(r"\w*(poison|skipped|malformed|invalid)\w*[ {]", line)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    before = total()
    for poison in (b"{", b"[]"):
        put(kinesis, poison)
    eventually(lambda: total() - before == 2)


def test_the_message_id_of_a_record_comes_from_its_place(fanfare, kinesis):
    session = fanfare.create(user=fresh_id())
    put(kinesis, {"userId": session["userId"], "msg": "a"})
    put(kinesis, {"userId": session["userId"], "msg": "b", "messageId": "of the sender"})
    ids = [m["messageId"] for m in session.take(2)]
    assert ids[0] and ids[1] == "of the sender"
    assert [m["messageId"] for m in fanfare.history(session["userId"])] == ids[::-1]


def test_any_text_and_large_records_pass(fanfare, kinesis):
    session = fanfare.create(user=fresh_id())
    for msg in ("é ✓ 😀", "x" * 200_000):
        put(kinesis, {"userId": session["userId"], "msg": msg})
        assert session.texts(1) == [msg]


def test_the_stream_describes_itself(kinesis):
    assert STREAM in kinesis.list_streams()["StreamNames"]
    summary = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]
    described = kinesis.describe_stream(StreamName=STREAM)["StreamDescription"]
    for found in (summary, described):
        assert found["StreamName"] == STREAM and found["StreamARN"] == ARN
        assert found["StreamStatus"] == "ACTIVE" and found["RetentionPeriodHours"] >= 1
        assert found["StreamCreationTimestamp"].year > 2000
    shards = kinesis.list_shards(StreamName=STREAM)["Shards"]
    assert summary["OpenShardCount"] == len(shards) and described["HasMoreShards"] is False
    assert [s["ShardId"] for s in described["Shards"]] == [s["ShardId"] for s in shards]
    ranges = sorted(
        (int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"])) for s in shards
    )
    assert ranges[0][0] == 0 and ranges[-1][1] == LAST_HASH_KEY
    assert all(before[1] + 1 == after[0] for before, after in zip(ranges, ranges[1:]))


def test_the_stream_may_be_named_by_arn(fanfare, kinesis):
    session = fanfare.create(user=fresh_id())
    data = json.dumps({"userId": session["userId"], "msg": "by arn"}).encode()
    kinesis.put_record(StreamARN=ARN, Data=data, PartitionKey="p")
    assert session.texts(1) == ["by arn"]
    assert kinesis.describe_stream_summary(StreamARN=ARN)["StreamDescriptionSummary"]["StreamName"] == STREAM


def test_an_explicit_hash_key_chooses_the_shard(kinesis):
    answer = put(kinesis, {"accountId": fresh_id()}, ExplicitHashKey=str(LAST_HASH_KEY))
    shards = kinesis.list_shards(StreamName=STREAM)["Shards"]
    (last,) = [s["ShardId"] for s in shards if int(s["HashKeyRange"]["EndingHashKey"]) == LAST_HASH_KEY]
    assert answer["ShardId"] == last
    for bad in (str(LAST_HASH_KEY + 1), "-1", "x"):
        refused(
            ("InvalidArgumentException", "ValidationException"),
            kinesis.put_record,
            StreamName=STREAM,
            Data=b"{}",
            PartitionKey="p",
            ExplicitHashKey=bad,
        )


def test_unknown_streams_are_refused(kinesis):
    for call, arguments in [
        (kinesis.put_record, {"Data": b"{}", "PartitionKey": "p"}),
        (kinesis.put_records, {"Records": [{"Data": b"{}", "PartitionKey": "p"}]}),
        (kinesis.describe_stream, {}),
        (kinesis.describe_stream_summary, {}),
        (kinesis.list_shards, {}),
    ]:
        refused(
            "ResourceNotFoundException",
            call,
            status=400,
            message=f"Stream missing under account {AWS_ACCOUNT} not found.",
            StreamName="missing",
            **arguments,
        )


def test_limits_of_put_records(kinesis):
    invalid = ("InvalidArgumentException", "ValidationException")
    record = {"Data": b"{}", "PartitionKey": "p"}
    refused(invalid, kinesis.put_records, status=400, StreamName=STREAM, Records=[record] * 501)
    refused(invalid, kinesis.put_record, status=400, StreamName=STREAM, Data=b"{}", PartitionKey="k" * 257)
    refused(invalid, kinesis.put_record, status=400, StreamName=STREAM, Data=b"x" * 10_500_000, PartitionKey="k")


def test_one_record_too_large_fails_alone_or_whole_but_never_silently(fanfare, kinesis):
    session = fanfare.create(user=fresh_id())
    good = json.dumps({"userId": session["userId"], "msg": "good"}).encode()
    large = json.dumps({"userId": session["userId"], "msg": "x" * 1_300_000}).encode()
    records = [{"Data": data, "PartitionKey": "p"} for data in (good, large)]
    refused(
        ("InvalidArgumentException", "ValidationException"), kinesis.put_records, StreamName=STREAM, Records=records
    )
    session.take(0)
