"""Dead-letter queues and the tasks that move messages back."""

import json
import time

import pytest

from expect import eventually, refused

pytestmark = pytest.mark.sqs_query


def arn(sqs, url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def receive(sqs, url, **arguments):
    arguments = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"], **arguments}
    return sqs.receive_message(QueueUrl=url, **arguments).get("Messages", [])


def count(sqs, url):
    name = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


@pytest.fixture
def pair(sqs, new_queue):
    """A source queue and its dead-letter queue, which takes what was received twice."""
    dead = new_queue()
    source = new_queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 2}))
    return source, dead


def exhaust(sqs, source):
    """Receives everything until it is moved away."""
    while receive(sqs, source, VisibilityTimeout=0):
        pass


def test_a_message_received_too_often_moves_with_its_story(sqs, pair):
    source, dead = pair
    attributes = {"Foo": {"DataType": "String", "StringValue": "Bar"}}
    sent = sqs.send_message(QueueUrl=source, MessageBody="poison", MessageAttributes=attributes)
    seen = [receive(sqs, source, VisibilityTimeout=0) for _ in range(3)]
    assert [len(messages) for messages in seen] == [1, 1, 0]
    (message,) = receive(sqs, dead)
    assert message["MessageId"] == sent["MessageId"] and message["Body"] == "poison"
    assert message["MessageAttributes"] == attributes
    found, before = message["Attributes"], seen[0][0]["Attributes"]
    assert found["SentTimestamp"] == before["SentTimestamp"]
    assert int(found["ApproximateReceiveCount"]) > 2
    assert found["DeadLetterQueueSourceArn"] == arn(sqs, source)


def test_the_sources_of_a_dead_letter_queue_are_listed(sqs, pair):
    source, dead = pair
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [source]
    assert sqs.list_dead_letter_source_queues(QueueUrl=source).get("queueUrls", []) == []


def test_the_policy_is_echoed_checked_and_cleared(sqs, pair):
    source, dead = pair
    read = {"QueueUrl": source, "AttributeNames": ["RedrivePolicy"]}
    policy = json.loads(sqs.get_queue_attributes(**read)["Attributes"]["RedrivePolicy"])
    assert policy["deadLetterTargetArn"] == arn(sqs, dead) and int(policy["maxReceiveCount"]) == 2
    for bad in (
        {"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 0},
        {"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 1001},
        {"deadLetterTargetArn": arn(sqs, dead)},
        {"maxReceiveCount": 3},
        {"deadLetterTargetArn": arn(sqs, dead) + "-missing", "maxReceiveCount": 3},
    ):
        refused(
            ("InvalidParameterValue", "InvalidAttributeValue"),
            sqs.set_queue_attributes,
            QueueUrl=source,
            Attributes={"RedrivePolicy": json.dumps(bad)},
        )
    sqs.set_queue_attributes(QueueUrl=source, Attributes={"RedrivePolicy": ""})
    assert not sqs.get_queue_attributes(**read).get("Attributes", {}).get("RedrivePolicy")


def test_messages_move_back_to_their_source(sqs, pair):
    source, dead = pair
    for n in range(20):
        sqs.send_message(QueueUrl=source, MessageBody=str(n))
    exhaust(sqs, source)
    assert count(sqs, dead) == 20
    handle = sqs.start_message_move_task(SourceArn=arn(sqs, dead))["TaskHandle"]
    assert handle
    done = eventually(lambda: finished(sqs, dead))
    assert done["SourceArn"] == arn(sqs, dead) and "TaskHandle" not in done
    assert done["ApproximateNumberOfMessagesMoved"] == 20
    assert count(sqs, dead) == 0 and count(sqs, source) == 20


def latest(sqs, dead):
    """The latest move task of a dead-letter queue."""
    return sqs.list_message_move_tasks(SourceArn=arn(sqs, dead))["Results"][0]


def finished(sqs, dead):
    """The latest task, once it is completed."""
    task = latest(sqs, dead)
    return task if task["Status"] == "COMPLETED" else None


def test_messages_move_to_another_destination(sqs, pair, new_queue):
    source, dead = pair
    elsewhere = new_queue()
    sqs.send_message(QueueUrl=source, MessageBody="x")
    exhaust(sqs, source)
    sqs.start_message_move_task(SourceArn=arn(sqs, dead), DestinationArn=arn(sqs, elsewhere))
    assert eventually(lambda: finished(sqs, dead))["DestinationArn"] == arn(sqs, elsewhere)
    assert [m["Body"] for m in receive(sqs, elsewhere)] == ["x"]


def test_a_task_can_be_cancelled_and_runs_alone(sqs, pair):
    source, dead = pair
    for n in range(10):
        sqs.send_message(QueueUrl=source, MessageBody=str(n))
    exhaust(sqs, source)
    handle = sqs.start_message_move_task(SourceArn=arn(sqs, dead), MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    (running,) = sqs.list_message_move_tasks(SourceArn=arn(sqs, dead))["Results"]
    assert running["Status"] == "RUNNING" and running["TaskHandle"] == handle
    assert running["MaxNumberOfMessagesPerSecond"] == 1
    refused(
        "InvalidParameterValue",
        sqs.start_message_move_task,
        status=400,
        message="There is already a task running. Only one active task is allowed for a source queue arn at a "
        "given time.",
        SourceArn=arn(sqs, dead),
    )
    sqs.cancel_message_move_task(TaskHandle=handle)
    assert latest(sqs, dead)["Status"] in ("CANCELLING", "CANCELLED")
    eventually(lambda: latest(sqs, dead)["Status"] == "CANCELLED")
    left = count(sqs, dead)
    time.sleep(1.5)
    assert 0 < left == count(sqs, dead) and count(sqs, source) == 10 - left


def test_what_a_move_task_needs(sqs, queue, pair):
    refused(
        "InvalidParameterValue",
        sqs.start_message_move_task,
        status=400,
        message="Source queue must be configured as a Dead Letter Queue.",
        SourceArn=arn(sqs, queue),
    )
    refused("ResourceNotFoundException", sqs.start_message_move_task, status=404, SourceArn=arn(sqs, queue) + "-no")
    refused(
        "InvalidParameterValue",
        sqs.start_message_move_task,
        SourceArn=arn(sqs, pair[1]),
        MaxNumberOfMessagesPerSecond=501,
    )
    refused("ResourceNotFoundException", sqs.cancel_message_move_task, status=404, TaskHandle="nonsense")
    assert sqs.list_message_move_tasks(SourceArn=arn(sqs, pair[1])).get("Results", []) == []
