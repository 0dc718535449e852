"""The SQS wire byte by byte: what no single client shows (WIRE 0, 1.1, 1.2, 1.6, 7)."""

import json
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree

import pytest
from botocore import xform_name

from expect import md5
from fanfare import NOBODY, fresh_name
from server import AWS_ACCOUNT

NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MISSING = f"http://localhost/{AWS_ACCOUNT}/missing-queue"


def json_call(fanfare, operation, path="/", credentials=None, **arguments):
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
    return fanfare.signed("POST", path, json.dumps(arguments).encode(), credentials, "sqs", headers)


def query_call(fanfare, action, path="/", credentials=None, headers=None, **arguments):
    fields = {"Action": action, "Version": "2012-11-05", **arguments}
    body = urllib.parse.urlencode({k: v for k, v in fields.items() if v is not None}).encode()
    return fanfare.signed("POST", path, body, credentials, "sqs", {**FORM, **(headers or {})})


def path_of(fanfare, url):
    return url.removeprefix(fanfare.url)


def test_a_json_error_carries_all_three_names(fanfare):
    answer = json_call(fanfare, "ReceiveMessage", QueueUrl=MISSING)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("application/x-amz-json-1.0")
    assert answer.headers["x-amzn-query-error"] == "AWS.SimpleQueueService.NonExistentQueue;Sender"
    assert "QueueDoesNotExist" in answer.headers["x-amzn-ErrorType"]
    assert answer.json() == {
        "__type": "com.amazonaws.sqs#QueueDoesNotExist",
        "message": "The specified queue does not exist.",
    }


def test_a_query_error_is_xml_with_its_own_text(fanfare):
    answer = query_call(fanfare, "ReceiveMessage", QueueUrl=MISSING)
    assert answer.status_code == 400 and answer.headers["Content-Type"].startswith("text/xml")
    root = ElementTree.fromstring(answer.content)
    assert root.tag == NAMESPACE + "ErrorResponse"
    error = root.find(NAMESPACE + "Error")
    assert {part.tag.removeprefix(NAMESPACE): part.text for part in error} == {
        "Type": "Sender",
        "Code": "AWS.SimpleQueueService.NonExistentQueue",
        "Message": "The specified queue does not exist for this wsdl version.",
        "Detail": None,
    }
    assert root.find(NAMESPACE + "RequestId").text == answer.headers["x-amzn-RequestId"]


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        ("unsigned", 403, "MissingAuthenticationToken"),
        ("malformed", 400, "IncompleteSignature"),
        ("unknown key", 403, "InvalidClientTokenId"),
    ],
)
def test_refused_signatures_in_query_answers(fanfare, call, status, code):
    body = b"Action=ListQueues&Version=2012-11-05"
    if call == "unsigned":
        answer = fanfare.raw("POST", "/", data=body, headers=FORM)
    elif call == "malformed":
        answer = fanfare.raw("POST", "/", data=body, headers={**FORM, "Authorization": "AWS4-HMAC-SHA256 nonsense"})
    else:
        answer = query_call(fanfare, "ListQueues", credentials=NOBODY)
    assert answer.status_code == status, answer.text
    code_of_answer = ElementTree.fromstring(answer.content).find(f"{NAMESPACE}Error/{NAMESPACE}Code").text
    # An unknown key and a bad signature get one answer, whichever of the two names it bears.
    assert code_of_answer in {code, "SignatureDoesNotMatch" if call == "unknown key" else code}


def test_refused_signatures_in_json_answers(fanfare):
    answer = json_call(fanfare, "ListQueues", credentials=NOBODY)
    assert answer.status_code == 403
    assert answer.json()["__type"].rsplit("#")[-1] in ("UnrecognizedClientException", "InvalidSignatureException")
    assert answer.headers["x-amzn-query-error"].split(";")[0] in ("InvalidClientTokenId", "SignatureDoesNotMatch")


def test_json_goes_to_the_root_or_to_the_queue(fanfare, queue):
    path = path_of(fanfare, queue)
    for target in ("/", path):
        assert json_call(fanfare, "SendMessage", target, QueueUrl=queue, MessageBody="x").status_code == 200


def test_the_host_in_a_queue_url_does_not_matter(fanfare, queue):
    name = queue.rsplit("/", 1)[1]
    for host in ("https://sqs.us-east-1.amazonaws.com", "http://elsewhere:1", fanfare.url):
        answer = json_call(fanfare, "SendMessage", QueueUrl=f"{host}/{AWS_ACCOUNT}/{name}", MessageBody="x")
        assert answer.status_code == 200


def test_json_content_type_may_carry_a_charset(fanfare, queue):
    headers = {"Content-Type": "application/x-amz-json-1.0; charset=utf-8", "X-Amz-Target": "AmazonSQS.ListQueues"}
    assert fanfare.signed("POST", "/", b"{}", None, "sqs", headers).status_code == 200
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    assert query_call(fanfare, "ListQueues", headers=form).status_code == 200


def test_an_empty_receive_is_an_empty_object(fanfare, queue):
    assert json_call(fanfare, "ReceiveMessage", QueueUrl=queue).json() == {}


def test_void_operations_answer_an_empty_object(fanfare, queue):
    for operation, arguments in [
        ("TagQueue", {"Tags": {"a": "b"}}),
        ("SetQueueAttributes", {"Attributes": {"DelaySeconds": "1"}}),
        ("PurgeQueue", {}),
        ("DeleteQueue", {}),
    ]:
        answer = json_call(fanfare, operation, QueueUrl=queue, **arguments)
        assert answer.status_code == 200 and answer.text in ("", "{}"), operation


def test_required_parameters_are_named(fanfare, queue):
    answer = json_call(fanfare, "SendMessage", QueueUrl=queue)
    assert answer.status_code == 400
    assert answer.headers["x-amzn-query-error"] == "MissingParameter;Sender"
    assert answer.json()["message"] == "The request must contain the parameter MessageBody."
    answer = query_call(fanfare, "SendMessage", QueueUrl=queue)
    error = ElementTree.fromstring(answer.content).find(NAMESPACE + "Error")
    assert error.find(NAMESPACE + "Code").text == "MissingParameter"
    assert error.find(NAMESPACE + "Message").text == "The request must contain the parameter MessageBody."


@pytest.mark.parametrize(
    "arguments",
    [
        {"MessageBody": 7},
        {"MessageBody": "x", "DelaySeconds": "soon"},
        {"MessageBody": "x", "DelaySeconds": 1.5},
        {"MessageBody": "x", "MessageAttributes": []},
        {"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "Binary", "BinaryValue": "not base64!"}}},
        {"MessageBody": "x", "MessageAttributes": {"a": {"StringValue": "no type"}}},
        {"MessageBody": "x", "QueueUrl": 7},
    ],
)
def test_members_of_the_wrong_type_are_refused(fanfare, queue, arguments):
    answer = json_call(fanfare, "SendMessage", **{"QueueUrl": queue, **arguments})
    assert answer.status_code == 400, answer.text
    assert answer.json()["__type"] and answer.json()["message"]
    assert json_call(fanfare, "ReceiveMessage", QueueUrl=queue).json() == {}


def test_a_queue_url_that_is_none_is_an_invalid_address(fanfare):
    answer = json_call(fanfare, "SendMessage", QueueUrl="nonsense", MessageBody="x")
    assert answer.status_code == 404, answer.text
    assert answer.json()["__type"] == "com.amazonaws.sqs#InvalidAddress"


def test_query_goes_to_the_queue_url_by_post_or_get(fanfare, queue):
    path = path_of(fanfare, queue)
    assert query_call(fanfare, "SendMessage", path, MessageBody="by post").status_code == 200
    # AWS accepts a missing Version on a queue URL.
    assert query_call(fanfare, "SendMessage", path, MessageBody="no version", Version=None).status_code == 200
    query = {"Action": "ReceiveMessage", "MaxNumberOfMessages": "10", "Version": "2012-11-05"}
    answer = fanfare.signed("GET", path, None, None, "sqs", query=query)
    bodies = ElementTree.fromstring(answer.content).iter(NAMESPACE + "Body")
    assert sorted(body.text for body in bodies) == ["by post", "no version"]


def test_the_queue_url_parameter_beats_the_path(fanfare, new_queue):
    one, two = new_queue(), new_queue()
    query_call(fanfare, "SendMessage", path_of(fanfare, one), QueueUrl=two, MessageBody="for two")
    assert json_call(fanfare, "ReceiveMessage", QueueUrl=one).json() == {}
    assert json_call(fanfare, "ReceiveMessage", QueueUrl=two).json()["Messages"][0]["Body"] == "for two"


def test_what_a_queue_url_does_not_do(fanfare, queue):
    path = path_of(fanfare, queue)
    answer = fanfare.signed("GET", path, None, None, "sqs")
    assert answer.status_code == 404 and "UnknownOperationException" in answer.text
    answer = query_call(fanfare, "CreateQueue", path, QueueName=fresh_name())
    assert answer.status_code == 400 and "InvalidAction" in answer.text
    assert "The action CreateQueue is not valid for this endpoint." in answer.text


def test_query_can_answer_json(fanfare, queue):
    name = queue.rsplit("/", 1)[1]
    headers = {"Accept": "application/json"}
    answer = query_call(fanfare, "ListQueues", headers=headers, QueueNamePrefix=name)
    assert queue in json.dumps(answer.json()["ListQueuesResponse"])


def test_xml_escapes_what_xml_would_change(fanfare, queue):
    body = '"quoted" <a>&amp;</a> \' \r\n\t end'
    query_call(fanfare, "SendMessage", QueueUrl=queue, MessageBody=body)
    answer = query_call(fanfare, "ReceiveMessage", QueueUrl=queue)
    assert "&quot;quoted&quot;" in answer.text and "&#xD;" in answer.text
    message = ElementTree.fromstring(answer.content).find(f".//{NAMESPACE}Message")
    assert message.find(NAMESPACE + "Body").text == body
    assert message.find(NAMESPACE + "MD5OfBody").text == md5(body)


def test_query_lists_need_not_start_at_one_nor_be_in_order(fanfare, queue):
    fields = {
        "MessageAttribute.2.Name": "b",
        "MessageAttribute.2.Value.DataType": "String",
        "MessageAttribute.2.Value.StringValue": "2",
        "MessageAttribute.1.Value.StringValue": "1",
        "MessageAttribute.1.Value.DataType": "String",
        "MessageAttribute.1.Name": "a",
    }
    assert query_call(fanfare, "SendMessage", QueueUrl=queue, MessageBody="x", **fields).status_code == 200
    received = json_call(fanfare, "ReceiveMessage", QueueUrl=queue, MessageAttributeNames=["All"]).json()
    assert {k: v["StringValue"] for k, v in received["Messages"][0]["MessageAttributes"].items()} == {
        "a": "1",
        "b": "2",
    }


def test_a_presigned_query_works_for_anybody_who_has_it(fanfare, queue):
    query = {"Action": "SendMessage", "MessageBody": "presigned é", "Version": "2012-11-05"}
    url = fanfare.presigned("GET", path_of(fanfare, queue), query=query)
    assert fanfare.raw("GET", url).status_code == 200
    assert fanfare.raw("GET", url.replace("presigned", "Forged")).status_code == 403
    other_digit = re.sub("(?<=X-Amz-Signature=).", lambda digit: "1" if digit[0] == "0" else "0", url)
    assert fanfare.raw("GET", other_digit).status_code == 403
    # A signature that is no hexadecimal number was never made by a client.
    assert fanfare.raw("GET", re.sub("X-Amz-Signature=.", "X-Amz-Signature=x", url)).status_code == 400
    received = json_call(fanfare, "ReceiveMessage", QueueUrl=queue, MaxNumberOfMessages=10).json()
    assert [m["Body"] for m in received["Messages"]] == ["presigned é"]


def test_a_presigned_receive_with_session_keys(fanfare):
    session = fanfare.create()
    fanfare.get(f"/notify/{session['accountId']}", msg="x")
    query = {"Action": "ReceiveMessage", "Version": "2012-11-05"}
    url = fanfare.presigned("GET", path_of(fanfare, session["sqsUrl"]), session.credentials, query=query)
    answer = fanfare.raw("GET", url)
    assert answer.status_code == 200 and "<Body>" in answer.text
    assert fanfare.raw("GET", re.sub("X-Amz-Security-Token=[^&]*", "", url)).status_code == 403


def test_boto3s_own_presigned_url(fanfare, sqs, queue):
    """It is a POST without a body: the request's members are in the query, its headers are signed."""

    def ask(operation, body=None, **arguments):
        url = sqs.generate_presigned_url(xform_name(operation), {"QueueUrl": queue, **arguments})
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
        return fanfare.raw("POST", url, data=body, headers={**headers, "x-amzn-query-mode": "true"})

    answer = ask("SendMessage", MessageBody="presigned é", DelaySeconds=0)
    assert answer.status_code == 200 and answer.json()["MD5OfMessageBody"] == md5("presigned é"), answer.text
    forged = json.dumps({"QueueUrl": queue, "MessageBody": "not what was signed"})
    assert ask("SendMessage", forged, MessageBody="x").status_code == 403
    answer = ask("ReceiveMessage", MaxNumberOfMessages=10, AttributeNames=["SenderId", "SentTimestamp"])
    (message,) = answer.json()["Messages"]
    assert message["Body"] == "presigned é" and set(message["Attributes"]) == {"SenderId", "SentTimestamp"}
