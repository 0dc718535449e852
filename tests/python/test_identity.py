"""Session identities on the Cognito Identity wire (WIRE 3)."""

import re
import time

import pytest
from botocore import UNSIGNED

from expect import ENDED_KEYS, refused
from fanfare import NOBODY, credentials_of, fresh_id
from server import REGION

UNKNOWN = f"{REGION}:00000000-0000-4000-8000-000000000000"
PROVIDER = "fanfare"


@pytest.fixture
def session(fanfare):
    return fanfare.create(user=fresh_id())


@pytest.fixture(scope="module")
def unsigned(fanfare):
    """A client that signs nothing, as a browser that has no keys yet."""
    return fanfare.client("cognito-identity", signature_version=UNSIGNED)


@pytest.fixture(scope="module")
def operator(fanfare):
    return fanfare.client("cognito-identity")


def logins(session):
    return {PROVIDER: session["sessionToken"]}


def test_the_current_token_proves_the_identity(fanfare, unsigned, session):
    answer = unsigned.get_credentials_for_identity(IdentityId=session["identityId"], Logins=logins(session))
    assert answer["IdentityId"] == session["identityId"]
    keys = answer["Credentials"]
    assert abs(keys["Expiration"].timestamp() - session["expires"]) < 2
    assert keys["Expiration"].timestamp() > time.time()
    assert (keys["AccessKeyId"], keys["SecretKey"], keys["SessionToken"]) == (
        session["accessKey"],
        session["secretKey"],
        session["sessionToken"],
    )
    fanfare.get(f"/notify/user/{session['userId']}", msg="x")
    sqs = fanfare.client("sqs", credentials_of(keys))
    assert len(sqs.receive_message(QueueUrl=session["sqsUrl"], WaitTimeSeconds=2)["Messages"]) == 1


def test_without_the_current_token_there_are_no_keys(fanfare, unsigned, session):
    call, who = unsigned.get_credentials_for_identity, session["identityId"]
    other = fanfare.create()
    refused("NotAuthorizedException", call, status=400, IdentityId=who)
    for wrong in (
        {PROVIDER: "nonsense"},
        logins(other),
        {"accounts.google.com": session["sessionToken"]},
        {PROVIDER: session["secretKey"]},
    ):
        refused("NotAuthorizedException", call, status=400, IdentityId=who, Logins=wrong)
    fanfare.get("/renew" + session.path)
    refused("NotAuthorizedException", call, status=400, IdentityId=who, Logins=logins(session))


def test_unknown_and_malformed_ids(unsigned, operator, session):
    call = unsigned.get_credentials_for_identity
    refused("ResourceNotFoundException", call, status=400, IdentityId=UNKNOWN, Logins=logins(session))
    for bad in ("nonsense", REGION + ":", "x" * 100):
        refused(("InvalidParameterException", "ValidationException"), call, status=400, IdentityId=bad)
    refused("ResourceNotFoundException", operator.describe_identity, status=400, IdentityId=UNKNOWN)


def test_an_identity_is_described_to_the_operator(unsigned, operator, session):
    found = operator.describe_identity(IdentityId=session["identityId"])
    assert found["IdentityId"] == session["identityId"]
    assert abs(found["CreationDate"].timestamp() - time.time()) < 60
    assert found["LastModifiedDate"] >= found["CreationDate"]
    assert found.get("Logins", []) in ([], [PROVIDER])
    denied = ("NotAuthorizedException", "MissingAuthenticationTokenException")
    refused(denied, unsigned.describe_identity, status=400, IdentityId=session["identityId"])


def test_deleting_identities_destroys_their_sessions(fanfare, operator, session):
    other = fanfare.create()
    answer = operator.delete_identities(IdentityIdsToDelete=[session["identityId"], UNKNOWN])
    unprocessed = [(u["IdentityId"], u["ErrorCode"]) for u in answer.get("UnprocessedIdentityIds", [])]
    assert unprocessed in ([], [(UNKNOWN, "AccessDenied")], [(UNKNOWN, "InternalServerError")])
    assert fanfare.status(session.description) is None
    assert fanfare.status(other.description)["identityId"] == other["identityId"]
    refused(
        ENDED_KEYS,
        session.sqs.receive_message,
        QueueUrl=session["sqsUrl"],
    )
    many = [UNKNOWN] * 61
    invalid = ("InvalidParameterException", "ValidationException")
    refused(invalid, operator.delete_identities, status=400, IdentityIdsToDelete=many)


def test_pools_are_listed_to_the_operator(fanfare, unsigned, operator):
    (pool,) = operator.list_identity_pools(MaxResults=60)["IdentityPools"]
    assert re.fullmatch(r"[\w-]+:[0-9a-f-]+", pool["IdentityPoolId"]) and pool["IdentityPoolName"]
    assert set(pool) == {"IdentityPoolId", "IdentityPoolName"}
    # boto3 itself refuses 0.
    refused(("InvalidParameterException", "ValidationException"), operator.list_identity_pools, MaxResults=61)
    denied = ("NotAuthorizedException", "MissingAuthenticationTokenException")
    refused(denied, unsigned.list_identity_pools, status=400, MaxResults=1)
    nobody = fanfare.client("cognito-identity", NOBODY)
    refused(
        ("UnrecognizedClientException", "InvalidSignatureException"),
        nobody.list_identity_pools,
        status=400,
        MaxResults=1,
    )


def test_identities_are_per_session_and_end_with_it(fanfare, unsigned, session):
    assert fanfare.create()["identityId"] != session["identityId"]
    fanfare.get("/destroy" + session.path)
    refused(
        "ResourceNotFoundException",
        unsigned.get_credentials_for_identity,
        IdentityId=session["identityId"],
        Logins=logins(session),
    )
