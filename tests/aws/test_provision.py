"""`fanfare aws provision` and `remove-all`: on moto, which has tables, streams and IAM in one, and on DynamoDB Local, which has no
tags."""

import json
import uuid

import pytest

from conftest import COGNITO, SETTINGS, client, command, run, url_of
from server import AWS_ACCOUNT, REGION

KINDS = ["table", "table", "table", "stream", "role", "policy"]

#: The same where sessions' keys are Cognito's.
KINDS_OF_COGNITO = ["table", "table", "table", "stream", "pool", "role", "attachment", "policy"]


class Place:
    """An environment of a test's own, with nothing in it."""

    def __init__(self):
        self.env = "p" + uuid.uuid4().hex[:10]
        self.moto = url_of("STS")
        self.sessions = f"{self.env}-sqs-browser-sessions"
        self.stream = f"{self.env}-sqs-browser-event-dispatcher"
        self.role = f"{self.env}-fanfare-session"
        self.policy = f"arn:aws:iam::{AWS_ACCOUNT}:policy/{self.env}-fanfare-node"
        self.dynamodb, self.kinesis, self.iam = (client(s, self.moto) for s in ("dynamodb", "kinesis", "iam"))

    def settings(self, **more):
        services = ["DYNAMODB", "SQS", "STS", "KINESIS", "IAM"]
        kept = {name: value for name, value in SETTINGS.items() if name.startswith("AWS_")}
        return {
            **kept,
            **{f"FANFARE_AWS_{service}_ENDPOINT": self.moto for service in services},
            "FANFARE_AWS_ACCOUNT": AWS_ACCOUNT,
            "FANFARE_AWS_CONSUME": "latest",
            "FANFARE_REGION": REGION,
            **more,
        }

    def provision(self, *arguments, **settings):
        return command("aws", "provision", "--env", self.env, *arguments, **self.settings(**settings))

    def parts(self, *arguments):
        """The plan as data."""
        return json.loads(self.provision("--json", *arguments))["parts"]

    def remove(self, *arguments, typed="", **settings):
        return run("aws", "remove-all", "--env", self.env, *arguments, typed=typed, **self.settings(**settings))


@pytest.fixture
def place():
    return Place()


def states(parts):
    return [part["state"] for part in parts]


def test_everything_is_planned_made_once_and_found_again(place):
    plan = place.provision("--dry-run")
    assert plan.count("would be made") == len(KINDS)
    assert states(place.parts("--dry-run")) == ["missing"] * len(KINDS), "looking makes nothing"
    made = place.provision()
    assert made.count(": made") == len(KINDS)
    assert f"set aws.session_role to arn:aws:iam::{AWS_ACCOUNT}:role/{place.role}" in made
    again = place.parts()
    assert [part["kind"] for part in again] == KINDS
    assert states(again) == ["there"] * len(KINDS)


def test_what_is_made_is_what_was_meant(place):
    place.provision(FANFARE_KINESIS_SHARDS="2", FANFARE_SESSIONS_KEY_LIFETIME="7200")
    table = place.dynamodb.describe_table(TableName=place.sessions)["Table"]
    assert [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]] == [
        ("userId", "HASH"),
        ("sessionId", "RANGE"),
    ]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert sorted(index["IndexName"] for index in table["GlobalSecondaryIndexes"]) == [
        f"{place.sessions}-gsi-account",
        f"{place.sessions}-gsi-session",
    ]
    ttl = place.dynamodb.describe_time_to_live(TableName=place.sessions)["TimeToLiveDescription"]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    tags = place.dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
    assert tags == [{"Key": "fanfare:env", "Value": place.env}]

    stream = place.kinesis.describe_stream_summary(StreamName=place.stream)["StreamDescriptionSummary"]
    assert (stream["StreamStatus"], stream["OpenShardCount"]) == ("ACTIVE", 2)

    role = place.iam.get_role(RoleName=place.role)["Role"]
    assert role["MaxSessionDuration"] == 7200
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"AWS": f"arn:aws:iam::{AWS_ACCOUNT}:root"}
    inline = place.iam.get_role_policy(RoleName=place.role, PolicyName="queues")["PolicyDocument"]
    [queues] = inline["Statement"]
    assert queues["Resource"] == [f"arn:aws:sqs:{REGION}:{AWS_ACCOUNT}:{place.env}-fanfare-*"]

    version = place.iam.get_policy(PolicyArn=place.policy)["Policy"]["DefaultVersionId"]
    document = place.iam.get_policy_version(PolicyArn=place.policy, VersionId=version)["PolicyVersion"]["Document"]
    resources = [resource for statement in document["Statement"] for resource in statement["Resource"]]
    assert f"arn:aws:dynamodb:{REGION}:{AWS_ACCOUNT}:table/{place.sessions}" in resources
    assert role["Arn"] in resources
    assert not any("$" in resource for resource in resources), "every name is put in"


def test_what_differs_is_said_and_put_right(place):
    place.provision()
    place.dynamodb.update_time_to_live(
        TableName=place.sessions, TimeToLiveSpecification={"Enabled": False, "AttributeName": "ttl"}
    )
    other = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
    place.iam.put_role_policy(RoleName=place.role, PolicyName="queues", PolicyDocument=other)
    place.iam.update_role(RoleName=place.role, MaxSessionDuration=3600)
    place.iam.create_policy_version(PolicyArn=place.policy, PolicyDocument=other, SetAsDefault=True)
    plan = place.parts("--dry-run")
    differing = {part["name"]: sorted(d["what"] for d in part["differences"]) for part in plan if part["differences"]}
    assert differing == {
        place.sessions: ["ttl"],
        place.role: ["maxSessionSeconds", "policy"],
        f"{place.env}-fanfare-node": ["policy"],
    }
    told = place.provision("--dry-run")
    assert "ttl: null, must be \"ttl\"; would be put right" in told
    assert states(place.parts("--dry-run")) == states(plan), "looking changes nothing"
    assert place.provision().count(": put right") == 3
    assert states(place.parts("--dry-run")) == ["there"] * len(KINDS)


def test_a_policy_is_changed_more_often_than_iam_keeps_versions(place):
    place.provision()
    for number in range(6):
        place.provision(FANFARE_SESSIONS_QUEUE_PREFIX=f"other-{number}")
    versions = place.iam.list_policy_versions(PolicyArn=place.policy)["Versions"]
    assert len(versions) == 5
    assert "would be put right" in place.provision("--dry-run")


def test_a_table_with_other_keys_is_left_and_the_end_is_an_error(place):
    place.dynamodb.create_table(
        TableName=place.sessions,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    ran = run("aws", "provision", "--env", place.env, **place.settings())
    assert ran.returncode == 1 and place.sessions in ran.stderr
    assert 'keys: ["id S"], must be ["userId N","sessionId S"]; stays as it is' in ran.stdout
    assert place.dynamodb.describe_table(TableName=place.sessions)["Table"]["KeySchema"][0]["AttributeName"] == "id"


def test_somebody_elses_account_is_refused(place):
    ran = run("aws", "provision", "--env", place.env, **place.settings(FANFARE_AWS_ACCOUNT="000000000001"))
    assert ran.returncode == 1 and f"belong to {AWS_ACCOUNT}" in ran.stderr
    assert states(place.parts("--dry-run")) == ["missing"] * len(KINDS)


def test_all_is_removed_after_its_name_was_typed(place):
    place.provision()
    refused = place.remove(typed="yes\n")
    assert refused.returncode == 1 and "nothing was removed" in refused.stderr
    assert states(place.parts("--dry-run")) == ["there"] * len(KINDS)
    sqs = client("sqs", place.moto)
    sqs.create_queue(QueueName=f"{place.env}-fanfare-of-a-session")
    removed = place.remove(typed=place.env + "\n")
    assert removed.returncode == 0, removed.stderr
    assert removed.stdout.count(": removed") == len(KINDS)
    assert f"left: 1 queues of sessions that nobody ended; their names start with {place.env}-fanfare-" in removed.stdout
    assert states(place.parts("--dry-run")) == ["missing"] * len(KINDS)
    again = place.remove("--yes")
    assert again.returncode == 0 and again.stdout.count("is not there") == len(KINDS)
    assert "nothing to remove" in again.stdout


def test_what_somebody_else_made_stays(place):
    place.provision("--only", "table", "--only", "stream")
    arn = place.dynamodb.describe_table(TableName=place.sessions)["Table"]["TableArn"]
    place.dynamodb.untag_resource(ResourceArn=arn, TagKeys=["fanfare:env"])
    place.kinesis.add_tags_to_stream(StreamName=place.stream, Tags={"fanfare:env": "prod"})
    nobody = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [nobody]})
    place.iam.create_role(RoleName=place.role, AssumeRolePolicyDocument=trust)
    removed = place.remove("--yes")
    assert removed.returncode == 0, removed.stderr
    assert removed.stdout.count(": removed") == 2, "the other tables"
    assert removed.stdout.count("stays: it has no tag fanfare:env") == 2
    assert "stays: its tag fanfare:env says prod" in removed.stdout
    place.iam.get_role(RoleName=place.role)
    place.dynamodb.describe_table(TableName=place.sessions)


def test_a_role_and_its_path_are_taken_from_the_configuration(place):
    name = f"{place.env}-keys"
    arn = f"arn:aws:iam::{AWS_ACCOUNT}:role/games/{name}"
    made = place.provision("--only", "role", "--only", "policy", FANFARE_AWS_SESSION_ROLE=arn)
    assert "set aws.session_role" not in made
    assert place.iam.get_role(RoleName=name)["Role"]["Arn"] == arn


def test_an_engine_without_tags_is_provisioned_by_name(place):
    local = {"FANFARE_AWS_DYNAMODB_ENDPOINT": url_of("DYNAMODB")}
    assert place.provision("--only", "table", **local).count(": made") == 3
    assert place.provision("--only", "table", **local).count("is there") == 3
    removed = place.remove("--only", "table", "--yes", **local)
    assert removed.returncode == 0 and removed.stdout.count(": removed") == 3, removed.stdout + removed.stderr
    assert place.provision("--only", "table", "--dry-run", **local).count("would be made") == 3


def test_a_stream_that_nobody_reads_is_not_made(place):
    made = place.provision(FANFARE_AWS_CONSUME="off")
    assert made.count(": made") == len(KINDS) - 2 and "stream" not in made and "leases" not in made


@pytest.fixture
def identities():
    """The same, with identities: their pools are at MiniStack, everything else is at moto."""
    return WithIdentities()


class WithIdentities(Place):
    """An environment whose sessions' keys are Cognito's."""

    def __init__(self):
        super().__init__()
        self.role = f"{self.env}-fanfare-identity"
        self.pools = client("cognito-identity", url_of("MINISTACK"))

    def settings(self, **more):
        places = {"FANFARE_AWS_COGNITO_ENDPOINT": url_of("MINISTACK")}
        return super().settings(**{**COGNITO, **places, **more})

    def pool(self):
        """What is there under the name that a pool has."""
        listed = self.pools.get_paginator("list_identity_pools").paginate(PaginationConfig={"PageSize": 60})
        [found] = [pool for page in listed for pool in page["IdentityPools"] if pool["IdentityPoolName"] == f"{self.env}-fanfare"]
        return self.pools.describe_identity_pool(IdentityPoolId=found["IdentityPoolId"])


def test_identities_get_a_pool_and_its_role(identities):
    plan = identities.provision("--dry-run")
    assert plan.count("would be made") == len(KINDS_OF_COGNITO)
    made = identities.provision()
    assert made.count(": made") == len(KINDS_OF_COGNITO)
    pool = identities.pool()
    assert f"set aws.identity_pool to {pool['IdentityPoolId']}" in made and "aws.session_role" not in made
    again = identities.parts()
    assert [part["kind"] for part in again] == KINDS_OF_COGNITO
    assert states(again) == ["there"] * len(KINDS_OF_COGNITO)
    known = {"FANFARE_AWS_IDENTITY_POOL": pool["IdentityPoolId"]}
    assert identities.provision(**known).count("is there") == len(KINDS_OF_COGNITO)
    assert "set aws" not in identities.provision(**known)

    assert pool["DeveloperProviderName"] == f"{identities.env}.fanfare"
    assert pool["AllowUnauthenticatedIdentities"] is False
    assert pool["IdentityPoolTags"] == {"fanfare:env": identities.env}
    role = identities.iam.get_role(RoleName=identities.role)["Role"]
    roles = identities.pools.get_identity_pool_roles(IdentityPoolId=pool["IdentityPoolId"])["Roles"]
    assert roles == {"authenticated": role["Arn"]}
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Federated": "cognito-identity.amazonaws.com"}
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Condition"] == {
        "StringEquals": {"cognito-identity.amazonaws.com:aud": pool["IdentityPoolId"]},
        "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "authenticated"},
    }
    inline = identities.iam.get_role_policy(RoleName=identities.role, PolicyName="queues")["PolicyDocument"]
    [own] = inline["Statement"]
    assert own["Condition"] == {"StringEquals": {"aws:ResourceTag/fanfare:identity": "${cognito-identity.amazonaws.com:sub}"}}
    version = identities.iam.get_policy_version(PolicyArn=identities.policy, VersionId="v1")["PolicyVersion"]
    arn = f"arn:aws:cognito-identity:{REGION}:{AWS_ACCOUNT}:identitypool/{pool['IdentityPoolId']}"
    by_sid = {statement["Sid"]: statement for statement in version["Document"]["Statement"]}
    assert by_sid["Identities"]["Resource"] == [arn] and "SessionKeys" not in by_sid

    for _ in range(4):
        identities.pools.create_identity_pool(IdentityPoolName=pool["IdentityPoolName"], AllowUnauthenticatedIdentities=False)
    assert states(identities.parts()) == ["there"] * len(KINDS_OF_COGNITO), "ours is found among others of its name"


def test_a_pool_that_differs_is_put_right(identities):
    identities.provision()
    pool = identities.pool()
    id = pool["IdentityPoolId"]
    pool.pop("ResponseMetadata")
    identities.pools.update_identity_pool(**{**pool, "AllowUnauthenticatedIdentities": True})
    identities.pools.set_identity_pool_roles(IdentityPoolId=id, Roles={"unauthenticated": "arn:aws:iam::1:role/other"})
    plan = identities.parts("--dry-run")
    differing = {part["kind"]: [d["what"] for d in part["differences"]] for part in plan if part["differences"]}
    assert differing == {"pool": ["guests"], "attachment": ["authenticated"]}
    assert identities.provision().count("put right") == 2
    assert states(identities.parts()) == ["there"] * len(KINDS_OF_COGNITO)
    mended = identities.pool()
    assert mended["DeveloperProviderName"] == pool["DeveloperProviderName"], "all else stays"
    assert mended["IdentityPoolTags"] == pool["IdentityPoolTags"]
    refused = run("aws", "provision", "--env", identities.env, **identities.settings(FANFARE_AWS_DEVELOPER_PROVIDER="other"))
    assert refused.returncode == 1 and "stays as it is" in refused.stdout
    assert f"{identities.env}-fanfare: not what Fanfare can use" in refused.stderr


def test_a_pool_is_removed_if_it_is_ours(identities):
    identities.provision()
    id = identities.pool()["IdentityPoolId"]
    removed = identities.remove("--yes")
    assert removed.returncode == 0, removed.stderr
    assert removed.stdout.count(": removed") == len(KINDS_OF_COGNITO)
    with pytest.raises(identities.pools.exceptions.ResourceNotFoundException):
        identities.pools.describe_identity_pool(IdentityPoolId=id)
    name = f"{identities.env}-fanfare"
    identities.pools.create_identity_pool(IdentityPoolName=name, AllowUnauthenticatedIdentities=False)
    removed = identities.remove("--yes")
    assert removed.returncode == 0 and "stays: it has no tag fanfare:env" in removed.stdout
    identities.pool()


def test_what_names_the_pool_is_not_made_before_it(identities):
    for kind in ("role", "policy", "attachment"):
        refused = run("aws", "provision", "--env", identities.env, "--only", kind, **identities.settings())
        assert refused.returncode == 1 and f"there is no identity pool {identities.env}-fanfare" in refused.stderr
    assert "id of the identity pool" in identities.provision("--only", "role", "--dry-run", "--json")


def test_an_engine_without_roles_of_pools_is_told(identities):
    """moto: it makes the pool, and knows nothing of the roles that a pool gives."""
    place = {"FANFARE_AWS_COGNITO_ENDPOINT": identities.moto, "FANFARE_AWS_PATIENCE": "1"}
    assert identities.provision("--only", "pool", **place).count(": made") == 1
    assert identities.provision("--only", "pool", **place).count("is there") == 1
    told = run("aws", "provision", "--env", identities.env, "--only", "attachment", **identities.settings(**place))
    assert told.returncode == 1 and "GetIdentityPoolRoles" in told.stderr
