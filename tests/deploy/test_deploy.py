"""The files in deploy/aws are valid, and say the same as `fanfare aws provision`."""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

import hcl2
import pytest
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests/aws"), str(REPOSITORY / "tests/python")]

from conftest import COGNITO, SETTINGS, client, command, run, url_of  # noqa: E402
from server import AWS_ACCOUNT, REGION  # noqa: E402

AWS = REPOSITORY / "deploy/aws"
TEMPLATE = AWS / "cloudformation.yaml"

#: What the id of a pool is in a plan, before the pool is there.
POOL = "(id of the identity pool)"


def settings(**more):
    """Everything at moto."""
    services = ["DYNAMODB", "SQS", "STS", "KINESIS", "IAM"]
    kept = {name: value for name, value in SETTINGS.items() if name.startswith("AWS_")}
    places = {f"FANFARE_AWS_{service}_ENDPOINT": url_of("STS") for service in services}
    return {**kept, **places, "FANFARE_AWS_ACCOUNT": AWS_ACCOUNT, "FANFARE_REGION": REGION, "FANFARE_AWS_CONSUME": "latest", **more}


def plan(env, **more):
    """What the program would make, part by part."""
    printed = command("aws", "provision", "--dry-run", "--json", "--env", env, **settings(**more))
    return {(part["kind"], part["name"]): part["wanted"] for part in json.loads(printed)["parts"]}


def wanted(env):
    """Everything that the program can make, with topics at AWS IoT Core: for who has sessions' keys made by STS, and for who
    has identities. The nodes' policy allows both."""
    topics = {"FANFARE_AWS_BROKER_PRESIGN": "true"}
    pools = {**COGNITO, "FANFARE_AWS_COGNITO_ENDPOINT": url_of("MINISTACK")}
    sts, cognito = plan(env, **topics), plan(env, **topics, **pools)
    policy = ("policy", f"{env}-fanfare-node")
    statements = sts[policy]["policy"]["Statement"]
    more = [each for each in cognito[policy]["policy"]["Statement"] if each not in statements]
    at = next(at for at, each in enumerate(statements) if each["Sid"] == "SessionKeys")
    statements[at + 1 : at + 1] = more
    return {**cognito, **sts}


def substituted(text, names):
    """A text with its `${name}`s replaced; none is left over."""
    return re.sub(r"\$\{([\w:.]+)\}", lambda found: str(names[found[1]]), text)


def keys(schema, types):
    return [f"{name} {types[name]}" for name in schema]


# CloudFormation


def template(env):
    """The template with its parameters and functions put in."""
    names = {"Env": env, "Shards": 1, "KeyLifetime": 14400, "IdentityPool": POOL}
    names |= {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": AWS_ACCOUNT}
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!Sub", lambda load, node: substituted(load.construct_scalar(node), names))
    loader.add_constructor("!Ref", lambda load, node: names.get(load.construct_scalar(node), node.value))
    loader.add_constructor("!GetAtt", lambda load, node: node.value)
    return yaml.load(TEMPLATE.read_text(), loader)["Resources"]


def of_cloudformation(env):
    """The parts that a template makes, in the program's words."""
    parts = {}
    for resource in template(env).values():
        kind, made = resource["Type"], resource["Properties"]
        if kind == "AWS::DynamoDB::Table":
            types = {each["AttributeName"]: each["AttributeType"] for each in made["AttributeDefinitions"]}
            indexes = {
                index["IndexName"]: {
                    "keys": keys([key["AttributeName"] for key in index["KeySchema"]], types),
                    "projection": index["Projection"]["ProjectionType"],
                }
                for index in made.get("GlobalSecondaryIndexes", [])
            }
            assert [key["KeyType"] for key in made["KeySchema"]] == ["HASH", "RANGE"]
            expiry = made.get("TimeToLiveSpecification", {"Enabled": True, "AttributeName": None})
            assert made["BillingMode"] == "PAY_PER_REQUEST" and expiry["Enabled"] is True
            parts["table", made["TableName"]] = {
                "keys": keys([key["AttributeName"] for key in made["KeySchema"]], types),
                "indexes": indexes,
                "ttl": expiry["AttributeName"],
            }
        elif kind == "AWS::Kinesis::Stream":
            parts["stream", made["Name"]] = {"shards": made["ShardCount"]}
        elif kind == "AWS::Cognito::IdentityPool":
            parts["pool", made["IdentityPoolName"]] = {
                "developerProvider": made["DeveloperProviderName"],
                "guests": made["AllowUnauthenticatedIdentities"],
            }
            made["Tags"] = made["IdentityPoolTags"]
        elif kind == "AWS::Cognito::IdentityPoolRoleAttachment":
            assert made["IdentityPoolId"] == POOL and made["Roles"] == {"authenticated": "IdentityRole.Arn"}
            attached = f"arn:aws:iam::{AWS_ACCOUNT}:role/{env}-fanfare-identity"
            parts["attachment", f"{env}-fanfare"] = {"authenticated": attached}
        elif kind == "AWS::IAM::ManagedPolicy":
            parts["policy", made["ManagedPolicyName"]] = {"policy": made["PolicyDocument"]}
        elif "Policies" in made:
            [policy] = made["Policies"]
            assert policy["PolicyName"] == "queues"
            parts["role", made["RoleName"]] = {
                "trust": made["AssumeRolePolicyDocument"],
                "policy": policy["PolicyDocument"],
                "maxSessionSeconds": made["MaxSessionDuration"],
            }
        else:
            # The role of tasks on ECS, which the program leaves to its user.
            assert made["RoleName"] == f"{env}-fanfare-node" and made["ManagedPolicyArns"] == ["NodePolicy"]
            continue
        assert {"Key": "fanfare:env", "Value": env} in made.get("Tags", [{"Key": "fanfare:env", "Value": env}])
    return parts


def test_cloudformation_is_valid():
    lint = pathlib.Path(sys.executable).with_name("cfn-lint")
    linted = subprocess.run([lint, TEMPLATE], capture_output=True, text=True, timeout=80)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_cloudformation_says_what_the_program_makes():
    assert of_cloudformation("prod") == wanted("prod")


# Terraform


def plain(value):
    """A value of python-hcl2's without the quotes that some versions keep."""
    if isinstance(value, dict):
        return {plain(name): plain(each) for name, each in value.items() if not name.startswith("__")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.strip('"') if isinstance(value, str) else value


def terraform():
    """The resources' file, parsed. There is no Terraform here: what it computes is not computed."""
    with (AWS / "terraform/main.tf").open() as file:
        return plain(hcl2.load(file))


def of_terraform(env):
    """The parts that the files make, in the program's words."""
    named = {"var.env": env}
    parts = {}
    for block in terraform()["resource"]:
        [(kind, resources)] = block.items()
        [(own, made)] = resources.items()
        name = made.get("name", made.get("identity_pool_name"))
        # Policies within roles all have the same name.
        name = own if name is None or kind == "aws_iam_role_policy" else substituted(name, named)
        if kind == "aws_dynamodb_table":
            types = {each["name"]: each["type"] for each in made["attribute"]}
            [ttl] = made.get("ttl", [{"enabled": True, "attribute_name": None}])
            assert ttl["enabled"] is True and made["billing_mode"] == "PAY_PER_REQUEST"
            indexes = {
                substituted(index["name"], named): {
                    "keys": keys([index["hash_key"]], types),
                    "projection": index["projection_type"],
                }
                for index in made.get("global_secondary_index", [])
            }
            parts["table", name] = {
                "keys": keys([made["hash_key"], made["range_key"]], types),
                "indexes": indexes,
                "ttl": ttl["attribute_name"],
            }
        else:
            parts[kind, name] = made
    return parts


#: What the program's parts are called there.
TERRAFORMS = {"stream": "aws_kinesis_stream", "role": "aws_iam_role", "policy": "aws_iam_policy"}


def test_terraform_is_well_formed_and_says_what_the_program_makes():
    found, expected = of_terraform("prod"), wanted("prod")
    tables = {key: value for key, value in expected.items() if key[0] == "table"}
    assert {key: value for key, value in found.items() if key[0] == "table"} == tables
    for (kind, name), of in expected.items():
        if kind == "pool":
            pool = found["aws_cognito_identity_pool", name]
            assert substituted(pool["developer_provider_name"], {"var.env": "prod"}) == of["developerProvider"]
            assert pool["allow_unauthenticated_identities"] is of["guests"]
        elif kind in TERRAFORMS:
            assert (TERRAFORMS[kind], name) in found
    attachment = found["aws_cognito_identity_pool_roles_attachment", "sessions"]
    assert "aws_iam_role.identity.arn" in json.dumps(attachment["roles"])
    policies = [("aws_iam_policy", "prod-fanfare-node", "node")]
    policies += [("aws_iam_role_policy", "queues", "session"), ("aws_iam_role_policy", "own_queue", "identity")]
    for kind, name, file in policies:
        # The very file that the program has in it.
        assert f"../policies/{file}.json" in found[kind, name]["policy"]
    for each in ("outputs.tf", "variables.tf"):
        with (AWS / "terraform" / each).open() as file:
            hcl2.load(file)


def test_terraforms_names_make_the_programs_policies():
    """`templatefile`, done by hand: every name in a policy's file is given, and with them it is the program's."""
    [given] = terraform()["locals"]
    values = {"data.aws_partition.here.partition": "aws", "data.aws_region.here.name": REGION}
    values |= {"data.aws_caller_identity.here.account_id": AWS_ACCOUNT, "var.env": "prod"}
    values |= {"aws_cognito_identity_pool.sessions.id": POOL}
    names = {name: substituted(value, values) for name, value in given["names"].items()}
    # What Terraform is to leave alone.
    names["identity"] = names["identity"].replace("$${", "${")
    expected = wanted("prod")
    roles = {"session": ("role", "prod-fanfare-session"), "identity": ("role", "prod-fanfare-identity")}
    for file, key in {"node": ("policy", "prod-fanfare-node"), **roles}.items():
        document = json.loads(substituted((AWS / f"policies/{file}.json").read_text(), names))
        assert document == expected[key]["policy"]


# The container


def test_the_dockerfile_is_sound():
    lint = pathlib.Path(sys.executable).with_name("hadolint")
    linted = subprocess.run([lint, AWS / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_image_is_built_with_this_rust_and_runs_as_nobody():
    lines = (AWS / "Dockerfile").read_text().splitlines()
    rust = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    images = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert images == [f"rust:{rust}-slim-bookworm", "gcr.io/distroless/cc-debian12:nonroot"]
    assert "USER 65532:65532" in lines and 'ENTRYPOINT ["/usr/local/bin/fanfare"]' in lines


def test_the_task_starts_a_node_that_can_be():
    """ECS takes the definition, and the program its settings."""
    definition = json.loads((AWS / "task-definition.json").read_text())
    taken = client("ecs", url_of("STS")).register_task_definition(**definition)["taskDefinition"]
    assert taken["status"] == "ACTIVE"
    [container] = definition["containerDefinitions"]
    environment = {each["name"]: each["value"] for each in container["environment"]}
    environment |= {each["name"]: "a secret" for each in container["secrets"]}
    image = (AWS / "Dockerfile").read_text()
    environment |= dict(re.findall(r"(FANFARE_\w+)=(\S+)", image))
    checked = run("serve", "--check", **environment)
    assert checked.returncode == 0, checked.stderr
    env = environment["FANFARE_ENV"]
    # A task's own keys are a role's: of such STS makes others for an hour at most.
    assert environment["FANFARE_SESSIONS_KEY_LIFETIME"] == "3600"
    assert environment["FANFARE_AWS_SESSION_ROLE"].endswith(f":role/{env}-fanfare-session")
    assert definition["taskRoleArn"].endswith(f":role/{env}-fanfare-node")


@pytest.mark.parametrize("name", ["FANFARE_ENV", "FANFARE_AWS_SESSION_ROLE"])
def test_a_setting_that_is_misspelt_in_the_task_would_be_found(name):
    definition = json.loads((AWS / "task-definition.json").read_text())
    [container] = definition["containerDefinitions"]
    environment = {each["name"]: each["value"] for each in container["environment"]}
    environment[name + "X"] = environment.pop(name)
    assert run("serve", "--check", **environment).returncode != 0
