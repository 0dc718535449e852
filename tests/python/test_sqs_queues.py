"""Queues themselves: creation, attributes, listing, tags, permissions, deletion, purging."""

import json
import time

import pytest

from expect import refused
from fanfare import QUERY_PROTOCOL, fresh_id, fresh_name
from server import AWS_ACCOUNT, REGION

pytestmark = pytest.mark.sqs_query

#: AWS uses both, by attribute; no client tells them apart.
BAD_VALUE = ("InvalidAttributeValue", "InvalidParameterValue")
NO_QUEUE = "AWS.SimpleQueueService.NonExistentQueue"


def attributes(sqs, url, *names):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names) or ["All"]).get("Attributes", {})


def test_the_installed_client_speaks_the_protocol_this_run_is_for(sqs):
    assert sqs.meta.service_model.metadata["protocol"] == ("query" if QUERY_PROTOCOL else "json")


def test_create_answers_the_url_of_the_requests_host(sqs, fanfare):
    name = fresh_name()
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    assert url == f"{fanfare.url}/{AWS_ACCOUNT}/{name}"
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url


def test_create_again_with_the_same_attributes_is_the_same_queue(sqs):
    name = fresh_name()
    first = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "31"})["QueueUrl"]
    assert sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "31"})["QueueUrl"] == first
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == first


def test_create_again_with_another_attribute_is_refused(sqs):
    name = fresh_name()
    sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "31"})
    text = refused(
        "QueueAlreadyExists", sqs.create_queue, status=400, QueueName=name, Attributes={"VisibilityTimeout": "32"}
    )
    assert text == ("A queue already exists with the same name and a different value for attribute VisibilityTimeout")


@pytest.mark.parametrize("name", ["a b", "ä", "x" * 81, "a.b", "name.fifo", "", "x" * 76 + ".fifo"])
def test_names_outside_the_rules_are_refused(sqs, name):
    attributes = {"FifoQueue": "true"} if len(name) > 80 and name.endswith(".fifo") else {}
    refused("InvalidParameterValue", sqs.create_queue, status=400, QueueName=name, Attributes=attributes)


def test_names_are_case_sensitive_and_eighty_characters_are_fine(sqs):
    base = f"{fresh_id()}-"
    name = base + "x" * (80 - len(base))
    assert sqs.create_queue(QueueName=name)["QueueUrl"] != sqs.create_queue(QueueName=name.upper())["QueueUrl"]


def test_a_new_queue_has_the_defaults_of_aws(sqs, queue):
    before = time.time()
    found = attributes(sqs, queue)
    assert all(isinstance(value, str) for value in found.values())
    assert abs(int(found.pop("CreatedTimestamp")) - before) < 30
    assert abs(int(found.pop("LastModifiedTimestamp")) - before) < 30
    name = queue.rsplit("/", 1)[1]
    assert found == {
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "DelaySeconds": "0",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "QueueArn": f"arn:aws:sqs:{REGION}:{AWS_ACCOUNT}:{name}",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
        "VisibilityTimeout": "30",
    }


def test_without_attribute_names_there_are_no_attributes(sqs, queue):
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue)


def test_single_attributes_are_picked(sqs, queue):
    assert attributes(sqs, queue, "VisibilityTimeout", "DelaySeconds") == {
        "VisibilityTimeout": "30",
        "DelaySeconds": "0",
    }


def test_an_unknown_attribute_is_refused(sqs, queue):
    refused(
        "InvalidAttributeName",
        sqs.get_queue_attributes,
        status=400,
        message="Unknown Attribute Colour.",
        QueueUrl=queue,
        AttributeNames=["Colour"],
    )
    refused("InvalidAttributeName", sqs.set_queue_attributes, QueueUrl=queue, Attributes={"Colour": "red"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VisibilityTimeout", "43200"),
        ("DelaySeconds", "900"),
        ("MessageRetentionPeriod", "60"),
        ("MessageRetentionPeriod", "1209600"),
        ("MaximumMessageSize", "1024"),
        ("ReceiveMessageWaitTimeSeconds", "20"),
        ("KmsMasterKeyId", "alias/aws/sqs"),
        ("KmsDataKeyReusePeriodSeconds", "600"),
    ],
)
def test_attributes_are_stored_and_echoed(sqs, queue, name, value):
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={name: value})
    assert attributes(sqs, queue, name) == {name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VisibilityTimeout", "43201"),
        ("VisibilityTimeout", "-1"),
        ("VisibilityTimeout", "soon"),
        ("DelaySeconds", "901"),
        ("MessageRetentionPeriod", "59"),
        ("MessageRetentionPeriod", "1209601"),
        ("MaximumMessageSize", "1023"),
        ("MaximumMessageSize", "1048577"),
        ("ReceiveMessageWaitTimeSeconds", "21"),
        ("RedrivePolicy", "{"),
        ("Policy", "no json"),
        ("SqsManagedSseEnabled", "maybe"),
    ],
)
def test_attribute_values_out_of_range_are_refused_and_change_nothing(sqs, queue, name, value):
    before = attributes(sqs, queue)
    refused(BAD_VALUE, sqs.set_queue_attributes, status=400, QueueUrl=queue, Attributes={name: value})
    refused(BAD_VALUE, sqs.create_queue, status=400, QueueName=fresh_name(), Attributes={name: value})
    assert attributes(sqs, queue) == before


def test_list_queues_by_prefix_in_pages(sqs):
    prefix = fresh_name("list")
    urls = {sqs.create_queue(QueueName=f"{prefix}-{n}")["QueueUrl"] for n in range(5)}
    whole = sqs.list_queues(QueueNamePrefix=prefix)
    assert set(whole["QueueUrls"]) == urls and "NextToken" not in whole

    paged, token = [], None
    while True:
        page = sqs.list_queues(QueueNamePrefix=prefix, MaxResults=2, **({"NextToken": token} if token else {}))
        assert len(page["QueueUrls"]) <= 2
        paged += page["QueueUrls"]
        token = page.get("NextToken")
        if not token:
            break
    assert len(paged) == 5 and set(paged) == urls
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=fresh_name("nothing"))


def test_unknown_queues_are_refused_by_every_operation(sqs, fanfare):
    gone = f"{fanfare.url}/{AWS_ACCOUNT}/{fresh_name('never')}"
    refused(NO_QUEUE, sqs.get_queue_url, status=400, QueueName="never-" + fresh_name())
    calls = [
        (sqs.get_queue_attributes, {"AttributeNames": ["All"]}),
        (sqs.set_queue_attributes, {"Attributes": {"DelaySeconds": "1"}}),
        (sqs.send_message, {"MessageBody": "x"}),
        (sqs.send_message_batch, {"Entries": [{"Id": "1", "MessageBody": "x"}]}),
        (sqs.receive_message, {}),
        (sqs.delete_queue, {}),
        (sqs.purge_queue, {}),
        (sqs.list_queue_tags, {}),
        (sqs.tag_queue, {"Tags": {"a": "b"}}),
        (sqs.untag_queue, {"TagKeys": ["a"]}),
        (sqs.list_dead_letter_source_queues, {}),
        (sqs.add_permission, {"Label": "l", "AWSAccountIds": [AWS_ACCOUNT], "Actions": ["SendMessage"]}),
        (sqs.remove_permission, {"Label": "l"}),
    ]
    for call, arguments in calls:
        refused(NO_QUEUE, call, status=400, QueueUrl=gone, **arguments)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.receive_message(QueueUrl=gone)


def test_delete_queue_ends_it_and_the_name_rests_for_a_minute(sqs):
    name = fresh_name()
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="lost with its queue")
    sqs.delete_queue(QueueUrl=url)
    refused(NO_QUEUE, sqs.send_message, QueueUrl=url, MessageBody="x")
    refused(NO_QUEUE, sqs.get_queue_url, QueueName=name)
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=name)
    refused("AWS.SimpleQueueService.QueueDeletedRecently", sqs.create_queue, status=400, QueueName=name)


def test_purge_removes_everything_once_a_minute(sqs, queue):
    for n in range(3):
        sqs.send_message(QueueUrl=queue, MessageBody=str(n))
    sqs.receive_message(QueueUrl=queue)
    sqs.purge_queue(QueueUrl=queue)
    name = queue.rsplit("/", 1)[1]
    refused(
        "AWS.SimpleQueueService.PurgeQueueInProgress",
        sqs.purge_queue,
        status=403,
        message=f"Only one PurgeQueue operation on {name} is allowed every 60 seconds.",
        QueueUrl=queue,
    )
    found = attributes(sqs, queue)
    assert found["ApproximateNumberOfMessages"] == found["ApproximateNumberOfMessagesNotVisible"] == "0"
    sqs.send_message(QueueUrl=queue, MessageBody="after")
    assert [m["Body"] for m in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]] == ["after"]


def test_tags_are_set_merged_listed_and_removed(sqs):
    url = sqs.create_queue(QueueName=fresh_name(), tags={"team": "red", "é": "✓"})["QueueUrl"]
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "red", "é": "✓"}
    sqs.tag_queue(QueueUrl=url, Tags={"team": "blue", "stage": ""})
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "blue", "é": "✓", "stage": ""}
    sqs.untag_queue(QueueUrl=url, TagKeys=["é", "stage", "never there"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "blue"}
    sqs.untag_queue(QueueUrl=url, TagKeys=["team"])
    assert not sqs.list_queue_tags(QueueUrl=url).get("Tags")


def test_permissions_become_statements_of_the_policy(sqs, queue):
    sqs.add_permission(
        QueueUrl=queue, Label="friends", AWSAccountIds=["210987654321"], Actions=["SendMessage", "ReceiveMessage"]
    )
    policy = json.loads(attributes(sqs, queue, "Policy")["Policy"])
    (statement,) = policy["Statement"]
    assert statement["Sid"] == "friends" and statement["Effect"] == "Allow"
    assert statement["Principal"] == {"AWS": "arn:aws:iam::210987654321:root"}
    assert sorted(statement["Action"]) == ["SQS:ReceiveMessage", "SQS:SendMessage"]
    assert statement["Resource"] == attributes(sqs, queue, "QueueArn")["QueueArn"]

    again = {"Label": "friends", "AWSAccountIds": ["210987654321"], "Actions": ["SendMessage"]}
    refused("InvalidParameterValue", sqs.add_permission, QueueUrl=queue, **again)
    sqs.remove_permission(QueueUrl=queue, Label="friends")
    assert not json.loads(attributes(sqs, queue, "Policy").get("Policy") or "{}").get("Statement")
    refused("InvalidParameterValue", sqs.remove_permission, QueueUrl=queue, Label="friends")


def test_a_policy_is_stored_and_echoed(sqs, queue):
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "SQS:SendMessage", "Resource": "*"}],
    }
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    assert json.loads(attributes(sqs, queue, "Policy")["Policy"]) == policy
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": ""})
    assert not attributes(sqs, queue).get("Policy")


def test_a_fifo_queue_names_itself_so(sqs, fifo):
    found = attributes(sqs, fifo)
    assert found["FifoQueue"] == "true"
    assert found["ContentBasedDeduplication"] == "false"
    assert found["DeduplicationScope"] == "queue" and found["FifoThroughputLimit"] == "perQueue"
    refused(BAD_VALUE, sqs.create_queue, QueueName=fresh_name(), Attributes={"FifoQueue": "maybe"})
    refused("InvalidParameterValue", sqs.create_queue, QueueName=fresh_name(), Attributes={"FifoQueue": "true"})
