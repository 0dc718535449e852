"""The three batch operations: each entry on its own, and the rules for the whole."""

import pytest

from expect import md5, refused

pytestmark = pytest.mark.sqs_query

PREFIX = "AWS.SimpleQueueService."


def entries(count, **fields):
    return [{"Id": f"e{n}", "MessageBody": f"body {n}", **fields} for n in range(count)]


def receive(sqs, url):
    return sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])


def test_ten_messages_in_one_call(sqs, queue):
    sent = sqs.send_message_batch(QueueUrl=queue, Entries=entries(10))
    assert not sent.get("Failed")
    assert {e["Id"]: e["MD5OfMessageBody"] for e in sent["Successful"]} == {
        f"e{n}": md5(f"body {n}") for n in range(10)
    }
    messages = receive(sqs, queue)
    assert {m["Body"] for m in messages} == {f"body {n}" for n in range(10)}
    assert {m["MessageId"] for m in messages} == {e["MessageId"] for e in sent["Successful"]}


def test_one_bad_entry_fails_alone(sqs, queue):
    batch = entries(3)
    batch[1]["DelaySeconds"] = 901
    sent = sqs.send_message_batch(QueueUrl=queue, Entries=batch)
    assert [e["Id"] for e in sent["Successful"]] == ["e0", "e2"]
    (failed,) = sent["Failed"]
    assert failed["Id"] == "e1" and failed["SenderFault"] is True and failed["Code"] == "InvalidParameterValue"
    assert failed["Message"]
    assert {m["Body"] for m in receive(sqs, queue)} == {"body 0", "body 2"}


def test_attributes_travel_in_batches(sqs, queue):
    attributes = {"Foo": {"DataType": "String", "StringValue": "Bar"}}
    sent = sqs.send_message_batch(QueueUrl=queue, Entries=entries(1, MessageAttributes=attributes))
    assert sent["Successful"][0]["MD5OfMessageAttributes"] == "ae7155c6026991b6d54b11589678bf9c"


def test_delete_batch_with_a_handle_we_never_gave(sqs, queue):
    sqs.send_message_batch(QueueUrl=queue, Entries=entries(2))
    batch = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(receive(sqs, queue))]
    answer = sqs.delete_message_batch(QueueUrl=queue, Entries=[*batch, {"Id": "bad", "ReceiptHandle": "nonsense"}])
    assert [e["Id"] for e in answer["Successful"]] == ["0", "1"]
    (failed,) = answer["Failed"]
    assert failed["Id"] == "bad" and failed["Code"] == "ReceiptHandleIsInvalid" and failed["SenderFault"] is True


def test_visibility_batch(sqs, queue):
    sqs.send_message_batch(QueueUrl=queue, Entries=entries(2))
    messages = receive(sqs, queue)
    batch = [
        {"Id": str(n), "ReceiptHandle": m["ReceiptHandle"], "VisibilityTimeout": 0} for n, m in enumerate(messages)
    ]
    bad = {"Id": "bad", "ReceiptHandle": messages[0]["ReceiptHandle"], "VisibilityTimeout": 43201}
    answer = sqs.change_message_visibility_batch(QueueUrl=queue, Entries=[*batch, bad])
    assert [e["Id"] for e in answer["Successful"]] == ["0", "1"]
    assert [(e["Id"], e["Code"]) for e in answer["Failed"]] == [("bad", "InvalidParameterValue")]
    assert len(receive(sqs, queue)) == 2


@pytest.mark.parametrize(
    ("batch", "code", "text"),
    [
        ([], "EmptyBatchRequest", None),
        (
            entries(11),
            "TooManyEntriesInBatchRequest",
            "Maximum number of entries per request are 10. You have sent 11.",
        ),
        (entries(1) * 2, "BatchEntryIdsNotDistinct", None),
        ([{"Id": "a b", "MessageBody": "x"}], "InvalidBatchEntryId", None),
        ([{"Id": "x" * 81, "MessageBody": "x"}], "InvalidBatchEntryId", None),
        ([{"Id": "", "MessageBody": "x"}], "InvalidBatchEntryId", None),
        (
            [{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)],
            "BatchRequestTooLong",
            "Batch requests cannot be longer than 1048576 bytes. You have sent 1200000 bytes.",
        ),
    ],
    ids=["empty", "eleven", "same id", "space in id", "long id", "empty id", "too long"],
)
def test_a_batch_outside_the_rules_is_refused_whole(sqs, queue, batch, code, text):
    refused(PREFIX + code, sqs.send_message_batch, status=400, message=text, QueueUrl=queue, Entries=batch)
    assert receive(sqs, queue) == []


def test_the_rules_hold_for_the_other_batches_too(sqs, queue):
    for call, fields in [
        (sqs.delete_message_batch, {"ReceiptHandle": "h"}),
        (sqs.change_message_visibility_batch, {"ReceiptHandle": "h", "VisibilityTimeout": 1}),
    ]:
        refused(PREFIX + "EmptyBatchRequest", call, QueueUrl=queue, Entries=[])
        refused(PREFIX + "BatchEntryIdsNotDistinct", call, QueueUrl=queue, Entries=[{"Id": "1", **fields}] * 2)
        many = [{"Id": str(n), **fields} for n in range(11)]
        refused(PREFIX + "TooManyEntriesInBatchRequest", call, QueueUrl=queue, Entries=many)
