"""FIFO queues: order within a group, deduplication, sequence numbers, expired handles."""

import time

import pytest

from expect import refused

pytestmark = pytest.mark.sqs_query


def send(sqs, url, body, group="g", dedup=None, **arguments):
    if dedup is not None:
        arguments["MessageDeduplicationId"] = dedup
    return sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group, **arguments)


def receive(sqs, url, **arguments):
    arguments = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], **arguments}
    return sqs.receive_message(QueueUrl=url, **arguments).get("Messages", [])


def bodies(messages):
    return [message["Body"] for message in messages]


def delete(sqs, url, messages):
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def test_a_group_is_received_in_order_with_rising_sequence_numbers(sqs, fifo):
    numbers = [int(send(sqs, fifo, str(n), dedup=str(n))["SequenceNumber"]) for n in range(25)]
    assert numbers == sorted(set(numbers))
    seen = []
    while messages := receive(sqs, fifo):
        seen += [(m["Body"], int(m["Attributes"]["SequenceNumber"])) for m in messages]
        assert all(m["Attributes"]["MessageGroupId"] == "g" for m in messages)
        assert all(m["Attributes"]["MessageDeduplicationId"] == m["Body"] for m in messages)
        delete(sqs, fifo, messages)
    assert seen == [(str(n), number) for n, number in enumerate(numbers)]


def test_a_group_in_flight_is_blocked_and_others_are_not(sqs, fifo):
    for n in range(3):
        send(sqs, fifo, f"a{n}", group="a", dedup=f"a{n}")
    first = receive(sqs, fifo, MaxNumberOfMessages=1)
    assert bodies(first) == ["a0"]
    send(sqs, fifo, "b0", group="b", dedup="b0")
    assert bodies(receive(sqs, fifo)) == ["b0"]
    assert receive(sqs, fifo) == []
    delete(sqs, fifo, first)
    assert bodies(receive(sqs, fifo)) == ["a1", "a2"]


def test_order_holds_when_a_message_returns(sqs, fifo):
    for n in range(3):
        send(sqs, fifo, str(n), dedup=str(n))
    (first,) = receive(sqs, fifo, MaxNumberOfMessages=1)
    sqs.change_message_visibility(QueueUrl=fifo, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
    assert bodies(receive(sqs, fifo)) == ["0", "1", "2"]


def test_a_repeated_deduplication_id_is_one_message(sqs, fifo):
    first = send(sqs, fifo, "one", dedup="d")
    again = send(sqs, fifo, "another body", dedup="d")
    elsewhere = send(sqs, fifo, "another group", group="h", dedup="d")
    for repeat in (again, elsewhere):
        assert repeat["MessageId"] == first["MessageId"]
        assert repeat["SequenceNumber"] == first["SequenceNumber"]
    messages = receive(sqs, fifo)
    assert bodies(messages) == ["one"]
    delete(sqs, fifo, messages)
    send(sqs, fifo, "after deletion", dedup="d")
    assert receive(sqs, fifo) == []


def test_content_based_deduplication(sqs, new_queue):
    url = new_queue(".fifo", FifoQueue="true", ContentBasedDeduplication="true")
    send(sqs, url, "same")
    send(sqs, url, "same")
    send(sqs, url, "same", dedup="an-explicit-id-wins")
    assert bodies(receive(sqs, url)) == ["same", "same"]


def test_deduplication_by_group(sqs, new_queue):
    url = new_queue(
        ".fifo", FifoQueue="true", DeduplicationScope="messageGroup", FifoThroughputLimit="perMessageGroupId"
    )
    for group in ("a", "b", "a"):
        send(sqs, url, f"for {group}", group=group, dedup="d")
    assert sorted(bodies(receive(sqs, url))) == ["for a", "for b"]


def test_what_a_fifo_message_needs(sqs, fifo):
    refused(
        "MissingParameter", sqs.send_message, status=400, QueueUrl=fifo, MessageBody="x", MessageDeduplicationId="d"
    )
    refused("InvalidParameterValue", sqs.send_message, status=400, QueueUrl=fifo, MessageBody="x", MessageGroupId="g")
    for arguments in ({"MessageGroupId": "x" * 129}, {"MessageGroupId": "a b"}, {"MessageDeduplicationId": "é"}):
        arguments = {"MessageGroupId": "g", "MessageDeduplicationId": "d", **arguments}
        refused("InvalidParameterValue", sqs.send_message, QueueUrl=fifo, MessageBody="x", **arguments)
    refused("InvalidParameterValue", send, sqs=sqs, url=fifo, body="x", dedup="d", DelaySeconds=1)
    send(sqs, fifo, "zero is the queue's own delay", dedup="d0", DelaySeconds=0)
    assert bodies(receive(sqs, fifo)) == ["zero is the queue's own delay"]


def test_a_batch_keeps_its_order(sqs, fifo):
    batch = [
        {"Id": str(n), "MessageBody": str(n), "MessageGroupId": "g", "MessageDeduplicationId": str(n)}
        for n in range(10)
    ]
    sent = sqs.send_message_batch(QueueUrl=fifo, Entries=batch)["Successful"]
    numbers = [int(e["SequenceNumber"]) for e in sorted(sent, key=lambda e: int(e["Id"]))]
    assert numbers == sorted(set(numbers))
    assert bodies(receive(sqs, fifo)) == [str(n) for n in range(10)]


def test_a_receive_attempt_can_be_repeated(sqs, fifo):
    for n in range(3):
        send(sqs, fifo, str(n), dedup=str(n))
    first = receive(sqs, fifo, ReceiveRequestAttemptId="try-1")
    again = receive(sqs, fifo, ReceiveRequestAttemptId="try-1")
    handles = [[m["ReceiptHandle"] for m in messages] for messages in (first, again)]
    assert bodies(first) == ["0", "1", "2"] and handles[0] == handles[1]
    assert receive(sqs, fifo, ReceiveRequestAttemptId="try-2") == []


def test_an_expired_handle_deletes_nothing(sqs, fifo):
    send(sqs, fifo, "x", dedup="d")
    (message,) = receive(sqs, fifo, VisibilityTimeout=1)
    time.sleep(1.2)
    handle = message["ReceiptHandle"]
    refused(
        "InvalidParameterValue",
        sqs.delete_message,
        status=400,
        message=f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
        QueueUrl=fifo,
        ReceiptHandle=handle,
    )
    assert bodies(receive(sqs, fifo)) == ["x"]


def test_a_long_poll_wakes_when_its_group_is_free_again(sqs, fifo):
    for n in range(2):
        send(sqs, fifo, str(n), dedup=str(n))
    (first,) = receive(sqs, fifo, MaxNumberOfMessages=1, VisibilityTimeout=1)
    started = time.monotonic()
    assert bodies(receive(sqs, fifo, WaitTimeSeconds=10))[0] == first["Body"]
    assert 0.5 < time.monotonic() - started < 6
