"""Messages on standard queues: sending, receiving, waiting, visibility, deletion, limits."""

import threading
import time

import pytest

from expect import md5, refused
from fanfare import QUERY_PROTOCOL

pytestmark = pytest.mark.sqs_query

MAX_BYTES = 1048576


def send(sqs, url, body, **arguments):
    return sqs.send_message(QueueUrl=url, MessageBody=body, **arguments)


def receive(sqs, url, **arguments):
    arguments = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"], **arguments}
    return sqs.receive_message(QueueUrl=url, **arguments).get("Messages", [])


def one(sqs, url, **arguments):
    (message,) = receive(sqs, url, **arguments)
    return message


def counts(sqs, url):
    names = ["", "NotVisible", "Delayed"]
    found = sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages" + name for name in names]
    )["Attributes"]
    return tuple(int(found["ApproximateNumberOfMessages" + name]) for name in names)


@pytest.mark.parametrize(
    "body",
    [
        "hello",
        "é ✓ 😀 𝄞",
        " leading and trailing ",
        "a\tb\nc",
        "line\r\nline\rline",
        "<&>\"'",
        "a=b&c=d+%20",
        "{}",
        "0",
    ],
)
def test_a_message_comes_back_as_it_was_sent(sqs, queue, body):
    sent = send(sqs, queue, body)
    assert sent["MD5OfMessageBody"] == md5(body)
    assert "MD5OfMessageAttributes" not in sent and "SequenceNumber" not in sent
    message = one(sqs, queue)
    assert message["Body"] == body
    assert message["MD5OfBody"] == md5(body)
    assert message["MessageId"] == sent["MessageId"]
    assert 0 < len(message["ReceiptHandle"]) <= 1024


def test_system_attributes_tell_the_messages_life(sqs, queue):
    before = time.time() * 1000
    send(sqs, queue, "x", MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5"}})
    first = one(sqs, queue, VisibilityTimeout=0)["Attributes"]
    second = one(sqs, queue)["Attributes"]
    assert first["ApproximateReceiveCount"] == "1" and second["ApproximateReceiveCount"] == "2"
    assert abs(int(first["SentTimestamp"]) - before) < 30_000
    assert int(first["ApproximateFirstReceiveTimestamp"]) >= int(first["SentTimestamp"])
    assert second["ApproximateFirstReceiveTimestamp"] == first["ApproximateFirstReceiveTimestamp"]
    assert first["SenderId"] and first["AWSTraceHeader"] == "Root=1-5"


def test_system_attributes_come_only_when_asked_for(sqs, queue):
    send(sqs, queue, "x")
    assert "Attributes" not in one(sqs, queue, VisibilityTimeout=0, AttributeNames=[])
    message = one(sqs, queue, VisibilityTimeout=0, AttributeNames=["ApproximateReceiveCount"])
    assert message["Attributes"] == {"ApproximateReceiveCount": "2"}


@pytest.mark.skipif(QUERY_PROTOCOL, reason="this boto3 predates MessageSystemAttributeNames")
def test_both_lists_of_system_attribute_names_count(sqs, queue):
    send(sqs, queue, "x")
    message = one(sqs, queue, AttributeNames=["SenderId"], MessageSystemAttributeNames=["ApproximateReceiveCount"])
    assert set(message["Attributes"]) == {"SenderId", "ApproximateReceiveCount"}


ATTRIBUTES = {
    "text": {"DataType": "String", "StringValue": "é 😀"},
    "number": {"DataType": "Number", "StringValue": "-1.50"},
    "bytes": {"DataType": "Binary", "BinaryValue": bytes(range(256))},
    "typed": {"DataType": "String.iso", "StringValue": "de"},
}


def test_message_attributes_of_every_type_come_back(sqs, queue):
    sent = send(sqs, queue, "x", MessageAttributes=ATTRIBUTES)
    message = one(sqs, queue)
    assert message["MessageAttributes"] == ATTRIBUTES
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]


def test_the_md5_of_attributes_is_the_published_vector(sqs, queue):
    sent = send(sqs, queue, "x", MessageAttributes={"Foo": {"DataType": "String", "StringValue": "Bar"}})
    assert sent["MD5OfMessageAttributes"] == "ae7155c6026991b6d54b11589678bf9c"


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (["All"], {"a.one", "a.two", "b"}),
        ([".*"], {"a.one", "a.two", "b"}),
        (["a.*"], {"a.one", "a.two"}),
        (["b"], {"b"}),
        (["a.one", "b"], {"a.one", "b"}),
        (["none"], set()),
        ([], set()),
    ],
)
def test_message_attributes_are_filtered_and_the_md5_covers_what_is_returned(sqs, queue, asked, given):
    attributes = {name: {"DataType": "String", "StringValue": name} for name in ("a.one", "a.two", "b")}
    send(sqs, queue, "x", MessageAttributes=attributes)
    message = one(sqs, queue, MessageAttributeNames=asked)
    assert set(message.get("MessageAttributes", {})) == given
    if given:
        alone = send(sqs, queue, "y", MessageAttributes={name: attributes[name] for name in given})
        assert message["MD5OfMessageAttributes"] == alone["MD5OfMessageAttributes"]
    else:
        assert "MD5OfMessageAttributes" not in message


@pytest.mark.parametrize(
    "attributes",
    [
        {f"n{n}": {"DataType": "String", "StringValue": "x"} for n in range(11)},
        {"AWS.name": {"DataType": "String", "StringValue": "x"}},
        {"amazon.name": {"DataType": "String", "StringValue": "x"}},
        {".name": {"DataType": "String", "StringValue": "x"}},
        {"name.": {"DataType": "String", "StringValue": "x"}},
        {"na..me": {"DataType": "String", "StringValue": "x"}},
        {"n" * 257: {"DataType": "String", "StringValue": "x"}},
        {"na me": {"DataType": "String", "StringValue": "x"}},
        {"name": {"DataType": "Colour", "StringValue": "x"}},
        {"name": {"DataType": "String", "StringValue": ""}},
        {"name": {"DataType": "Number", "StringValue": "many"}},
    ],
)
def test_message_attributes_outside_the_rules_are_refused(sqs, queue, attributes):
    refused(
        "InvalidParameterValue",
        sqs.send_message,
        status=400,
        QueueUrl=queue,
        MessageBody="x",
        MessageAttributes=attributes,
    )
    assert receive(sqs, queue) == []


def test_a_received_message_is_invisible_until_its_timeout(sqs, queue):
    send(sqs, queue, "x")
    first = one(sqs, queue, VisibilityTimeout=1)
    assert receive(sqs, queue) == []
    assert counts(sqs, queue) == (0, 1, 0)
    second = one(sqs, queue, WaitTimeSeconds=5)
    assert second["MessageId"] == first["MessageId"] and second["ReceiptHandle"] != first["ReceiptHandle"]


def test_the_queues_visibility_timeout_is_the_default(sqs, new_queue):
    url = new_queue(VisibilityTimeout=1)
    send(sqs, url, "x")
    one(sqs, url)
    assert receive(sqs, url) == []
    one(sqs, url, WaitTimeSeconds=5)


def test_visibility_can_be_ended_and_extended(sqs, queue):
    send(sqs, queue, "x")
    message = one(sqs, queue)
    change = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]}
    sqs.change_message_visibility(**change, VisibilityTimeout=0)
    again = one(sqs, queue, VisibilityTimeout=1)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=30)
    time.sleep(1.5)
    assert receive(sqs, queue) == []
    refused("InvalidParameterValue", sqs.change_message_visibility, **change, VisibilityTimeout=43201)


def test_visibility_of_a_message_not_in_flight_cannot_change(sqs, queue):
    send(sqs, queue, "x")
    message = one(sqs, queue, VisibilityTimeout=0)
    refused(
        "AWS.SimpleQueueService.MessageNotInflight",
        sqs.change_message_visibility,
        status=400,
        QueueUrl=queue,
        ReceiptHandle=message["ReceiptHandle"],
        VisibilityTimeout=10,
    )


def test_delete_is_final_and_repeatable(sqs, queue):
    send(sqs, queue, "x")
    message = one(sqs, queue, VisibilityTimeout=1)
    for _ in range(2):
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    time.sleep(1.2)
    assert receive(sqs, queue) == [] and counts(sqs, queue) == (0, 0, 0)


def test_delete_after_the_timeout_still_deletes_on_a_standard_queue(sqs, queue):
    send(sqs, queue, "x")
    message = one(sqs, queue, VisibilityTimeout=1)
    time.sleep(1.2)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert receive(sqs, queue) == []


@pytest.mark.parametrize("handle", ["nonsense", "AQEB" + "A" * 100, "x" * 1025, "é"])
def test_handles_we_never_gave_are_refused(sqs, queue, handle):
    refused("ReceiptHandleIsInvalid", sqs.delete_message, status=404, QueueUrl=queue, ReceiptHandle=handle)
    refused(
        "ReceiptHandleIsInvalid",
        sqs.change_message_visibility,
        status=404,
        QueueUrl=queue,
        ReceiptHandle=handle,
        VisibilityTimeout=1,
    )


def test_a_handle_of_another_queue_deletes_nothing(sqs, new_queue):
    mine, other = new_queue(), new_queue()
    send(sqs, mine, "x")
    message = one(sqs, mine, VisibilityTimeout=0)
    refused("ReceiptHandleIsInvalid", sqs.delete_message, QueueUrl=other, ReceiptHandle=message["ReceiptHandle"])
    assert one(sqs, mine)["Body"] == "x"


def test_a_delayed_message_appears_later(sqs, queue):
    started = time.monotonic()
    send(sqs, queue, "x", DelaySeconds=2)
    assert receive(sqs, queue) == []
    assert counts(sqs, queue) == (0, 0, 1)
    one(sqs, queue, WaitTimeSeconds=10)
    assert 1.5 < time.monotonic() - started < 8
    refused("InvalidParameterValue", sqs.send_message, QueueUrl=queue, MessageBody="x", DelaySeconds=901)


def test_the_queues_delay_holds_unless_the_message_has_its_own(sqs, new_queue):
    url = new_queue(DelaySeconds=600)
    send(sqs, url, "later")
    send(sqs, url, "now", DelaySeconds=0)
    assert one(sqs, url)["Body"] == "now"
    assert counts(sqs, url) == (0, 1, 1)


def test_an_empty_queue_answers_at_once_without_messages(sqs, queue):
    started = time.monotonic()
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    assert time.monotonic() - started < 1


def test_a_long_poll_of_an_empty_queue_ends_in_time(sqs, new_queue):
    by_argument, by_queue = new_queue(), new_queue(ReceiveMessageWaitTimeSeconds=1)
    for url, arguments in [(by_argument, {"WaitTimeSeconds": 1}), (by_queue, {})]:
        started = time.monotonic()
        assert "Messages" not in sqs.receive_message(QueueUrl=url, **arguments)
        assert 0.9 < time.monotonic() - started < 4


def test_a_long_poll_wakes_at_once(sqs, queue):
    sent_at = []
    threading.Timer(1.0, lambda: sent_at.append(time.monotonic()) or send(sqs, queue, "wake up")).start()
    assert one(sqs, queue, WaitTimeSeconds=20)["Body"] == "wake up"
    assert time.monotonic() - sent_at[0] < 1


def test_waiting_polls_share_the_messages(sqs, queue):
    got = []
    pollers = [threading.Thread(target=lambda: got.extend(receive(sqs, queue, WaitTimeSeconds=10))) for _ in range(8)]
    for poller in pollers:
        poller.start()
    time.sleep(0.5)
    deadline = time.monotonic() + 15
    sent = 0
    while any(poller.is_alive() for poller in pollers):
        assert time.monotonic() < deadline
        if len(got) == sent:
            send(sqs, queue, str(sent))
            sent += 1
        time.sleep(0.02)
    ids = [message["MessageId"] for message in got]
    assert len(ids) == len(set(ids)) and len(ids) >= 8


def test_receive_returns_at_most_what_was_asked(sqs, queue):
    for n in range(12):
        send(sqs, queue, str(n))
    assert len(sqs.receive_message(QueueUrl=queue)["Messages"]) == 1
    assert len(receive(sqs, queue, MaxNumberOfMessages=3)) == 3
    assert len(receive(sqs, queue)) == 8


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"MaxNumberOfMessages": 11},
            "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            {"MaxNumberOfMessages": 0},
            "Value 0 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            {"WaitTimeSeconds": 21},
            "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.",
        ),
        ({"VisibilityTimeout": 43201}, None),
        ({"VisibilityTimeout": -1}, None),
    ],
)
def test_receive_arguments_out_of_range(sqs, queue, arguments, text):
    refused("InvalidParameterValue", sqs.receive_message, status=400, message=text, QueueUrl=queue, **arguments)


@pytest.mark.parametrize("body", ["a\x00b", "a\x0bb", "a\x1fb", "a\ufffe", "a\uffff"])
def test_bodies_with_forbidden_characters_are_refused(sqs, queue, body):
    refused("InvalidMessageContents", sqs.send_message, status=400, QueueUrl=queue, MessageBody=body)


@pytest.mark.parametrize("size", [200_000, MAX_BYTES])
def test_large_bodies_pass(sqs, queue, size):
    body = ("0123456789abcde\n" * (size // 16 + 1))[:size]
    assert send(sqs, queue, body)["MD5OfMessageBody"] == md5(body)
    assert one(sqs, queue)["Body"] == body


def test_bodies_above_the_limit_are_refused(sqs, queue):
    text = "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes."
    for body, attributes in [
        ("x" * (MAX_BYTES + 1), {}),
        ("é" * (MAX_BYTES // 2 + 1), {}),
        ("x" * (MAX_BYTES - 5), {"n": {"DataType": "String", "StringValue": "v"}}),
    ]:
        refused(
            "InvalidParameterValue",
            sqs.send_message,
            status=400,
            message=text,
            QueueUrl=queue,
            MessageBody=body,
            MessageAttributes=attributes,
        )


def test_the_queues_own_size_limit_holds(sqs, new_queue):
    url = new_queue(MaximumMessageSize=1024)
    send(sqs, url, "x" * 1024)
    refused("InvalidParameterValue", sqs.send_message, QueueUrl=url, MessageBody="x" * 1025)


def test_counts_follow_the_messages(sqs, queue):
    for n in range(3):
        send(sqs, queue, str(n))
    send(sqs, queue, "later", DelaySeconds=900)
    one(sqs, queue, MaxNumberOfMessages=1)
    assert counts(sqs, queue) == (2, 1, 1)


def test_a_group_id_on_a_standard_queue_is_echoed(sqs, queue):
    send(sqs, queue, "x", MessageGroupId="tenant-1")
    assert one(sqs, queue)["Attributes"]["MessageGroupId"] == "tenant-1"
