"""deploy/template.yaml: valid for CloudFormation and AWS SAM, with the table, settings and routes of the code."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file
from samtranslator.translator.transform import transform

from aws_backend.function.settings import SETTINGS, function_of
from aws_backend.log.schema import definition
from scripts.package import PYTHON
from sltt_core.api.request_log import BY_ROUTE, NAMESPACE, UNITS
from sltt_core.api.routes import ROUTES
from tests.conftest import engine_url
from tests.deploy.templates import Template, load
from tests.docs.documents import blocks

PATH = Path(__file__).parents[2] / "deploy" / "template.yaml"
ACCEPTED = {
    "W1030": "a parameter without a value is no ARN; what uses it has a condition",
}
"""Findings of cfn-lint that are accepted, with the reason."""
REGION = "eu-west-1"
KEY_SET = '{"keys": [{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}]}'
TOKENS = {"Issuer": "https://id.example.org", "Audience": "sync"}
AUTHENTICATION: dict[str, dict[str, Any]] = {
    "device-tokens": {},
    "jwt-function": {**TOKENS, "Jwks": KEY_SET},
    "jwt-gateway": TOKENS,
    "iam": {},
    "none": {},
}
"""What each value of the parameter `Authentication` also needs."""


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return load(PATH)


def test_cfn_lint_accepts_it() -> None:
    found = [match for match in lint_file(PATH) if match.rule.id not in ACCEPTED]
    assert not found


def test_aws_sam_translates_it(content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    parameters = {name: str(entry["Default"]) for name, entry in content["Parameters"].items()}
    source = deepcopy({**content, "Transform": "AWS::Serverless-2016-10-31"})
    source["Resources"]["ApiLambdaFunction"]["Properties"]["CodeUri"] = "s3://bucket/lambda.zip"  # as `sam deploy` does
    translated = transform(source, parameters, _NoPolicies())
    kinds = [resource["Type"] for resource in translated["Resources"].values()]
    assert kinds.count("AWS::Lambda::Function") == kinds.count("AWS::Lambda::Alias") == 1
    assert "AWS::CodeDeploy::DeploymentGroup" in kinds
    # serverless.yml and this template wait for the alias under this name.
    assert translated["Resources"]["ApiLambdaFunctionAliaslive"]["Properties"]["Name"] == "live"


class _NoPolicies:
    def load(self) -> dict[str, str]:
        return {}


def test_the_table_is_the_one_of_the_code(content: dict[str, Any]) -> None:
    (table,) = Template(content).of_type("AWS::DynamoDB::Table").values()
    ours = definition("sltt-dev")
    assert {name: table[name] for name in ours} == ours
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"}


@pytest.mark.parametrize(
    ("stage", "policy", "protected"), [("prod", "RetainExceptOnCreate", True), ("dev", "Delete", False)]
)
def test_only_the_table_of_production_is_kept(
    content: dict[str, Any], stage: str, policy: str, protected: bool
) -> None:
    table = Template(content, Stage=stage).resources["Table"]
    assert table["DeletionPolicy"] == policy
    assert table["UpdateReplacePolicy"] == ("Retain" if protected else "Delete")
    assert table["Properties"]["DeletionProtectionEnabled"] is protected


def test_the_table_can_be_encrypted_with_a_key_of_the_account(content: dict[str, Any]) -> None:
    plain, managed = (
        Template(content, TableEncryption=key).resources["Table"]["Properties"] for key in ("AWS_OWNED", "AWS_MANAGED")
    )
    assert "SSESpecification" not in plain
    assert managed["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}


def test_the_stack_of_a_project_uses_the_table_of_the_shared_stack(content: dict[str, Any]) -> None:
    shared, own = (environment_of(content, Project=project) for project in ("", "project-a-123"))
    assert not Template(content, Project="project-a-123").of_type("AWS::DynamoDB::Table")
    assert shared["DYNAMODB_TABLE"] == own["DYNAMODB_TABLE"] == "sltt-dev"
    assert "PROJECT_ID" not in shared
    assert own["PROJECT_ID"] == "project-a-123"
    assert environment_of(content, TableName="team")["DYNAMODB_TABLE"] == "team"


def environment_of(content: dict[str, Any], **parameters: object) -> dict[str, str]:
    """Return the environment of the function."""
    (function,) = Template(content, **parameters).of_type("AWS::Serverless::Function").values()
    found: dict[str, str] = function["Environment"]["Variables"]
    return found


@pytest.mark.parametrize("authentication", AUTHENTICATION)
def test_the_function_starts_with_this_environment(content: dict[str, Any], authentication: str) -> None:
    given = AUTHENTICATION[authentication]
    environ = environment_of(
        content, Authentication=authentication, Project="ruth", Resource="https://a.example", **given
    )
    local = {"DYNAMODB_ENDPOINT": engine_url("dynoxide"), "USE_LOCAL_DYNAMODB": "true", "AWS_REGION": REGION}
    function = function_of({**environ, **local})
    function._storage.close()
    known = {*SETTINGS, "DYNAMODB_TABLE", "ACCESS_CONTROL", "ADMINS", "PROJECT_CREATION"}
    assert {name for name in environ if not name.startswith("AUTH_")} <= known
    assert ("AUTH_ISSUER" in environ) is (authentication == "jwt-function")
    assert environ["ACCESS_CONTROL"] == ("none" if authentication == "none" else "roles")


def policy_of(content: dict[str, Any], name: str, **parameters: object) -> dict[str, Any]:
    """Return a policy of the function's role."""
    (role,) = Template(content, TableName="team", **parameters).of_type("AWS::IAM::Role").values()
    (found,) = (policy["PolicyDocument"] for policy in role["Policies"] if policy["PolicyName"] == name)
    assert isinstance(found, dict)
    return found


def test_the_role_has_the_policies_of_the_document(content: dict[str, Any]) -> None:
    """`tests/aws_backend/test_permissions.py` evaluates those for every call, and for calls that they must refuse."""
    server, function = (json.loads(block.text) for block in blocks("docs/table.md") if block.language == "json")
    server["Statement"][0]["Action"].remove("dynamodb:DescribeTable")  # a function does not check its table
    assert policy_of(content, "table") == server
    assert policy_of(content, "table", Project="ruth") == function


def test_the_role_writes_only_to_its_own_log(content: dict[str, Any]) -> None:
    (statement,) = policy_of(content, "log")["Statement"]
    assert statement["Resource"] == "LogGroup.Arn"
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]


def test_nothing_is_open_by_default(content: dict[str, Any]) -> None:
    environ = environment_of(content)
    assert (environ["ACCESS_CONTROL"], environ["PROJECT_CREATION"]) == ("roles", "admins")
    assert not Template(content).of_type("AWS::Lambda::Url")


@pytest.mark.parametrize(
    ("parameters", "broken"),
    [
        ({"Authentication": "jwt-gateway"}, ["jwt-function and jwt-gateway need Issuer and Audience."]),
        ({"Authentication": "jwt-function", **TOKENS}, ["jwt-function needs Jwks."]),
        ({"FunctionUrl": "NONE", "Authentication": "none"}, ["FunctionUrl NONE bypasses the gateway"]),
        ({"FunctionUrl": "NONE", "Authentication": "jwt-gateway", **TOKENS}, ["FunctionUrl NONE bypasses the gateway"]),
        ({"DomainName": "sync.example.org"}, ["DomainName needs CertificateArn."]),
        ({}, []),
        ({"FunctionUrl": "NONE"}, []),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(
    content: dict[str, Any], parameters: dict[str, Any], broken: list[str]
) -> None:
    found = Template(content, **parameters).broken_rules()
    assert len(found) == len(broken)
    assert all(text.startswith(start) for text, start in zip(found, broken, strict=True))


def test_the_function_is_the_one_of_the_zip(content: dict[str, Any]) -> None:
    (function,) = Template(content).of_type("AWS::Serverless::Function").values()
    assert function["Handler"] == "aws_backend.lambda_handler.handler"
    assert function["Runtime"] == f"python{PYTHON}"
    assert function["CodeUri"] == "../dist/lambda.zip"
    assert function["Timeout"] < 30  # an HTTP API waits for 30 seconds


@pytest.mark.parametrize(("authentication", "asked"), [("jwt-gateway", "JWT"), ("iam", "AWS_IAM"), ("none", "NONE")])
def test_the_gateway_asks_for_a_credential_on_every_route_of_the_api(
    content: dict[str, Any], authentication: str, asked: str
) -> None:
    template = Template(content, Authentication=authentication, **AUTHENTICATION[authentication])
    routes = {
        entry["RouteKey"]: entry["AuthorizationType"] for entry in template.of_type("AWS::ApiGatewayV2::Route").values()
    }
    for route in ROUTES:
        path = re.sub(r"\{\w+\}", "x", route.path)
        found = routes["ANY /api/{proxy+}" if path.startswith("/api/") else "$default"]
        assert found == (asked if path.startswith("/api/") else "NONE"), path
    assert routes["OPTIONS /api/{proxy+}"] == "NONE"
    assert bool(template.of_type("AWS::ApiGatewayV2::Authorizer")) is (asked == "JWT")


def test_no_log_has_the_path_or_the_query_of_a_request(content: dict[str, Any]) -> None:
    (stage,) = Template(content).of_type("AWS::ApiGatewayV2::Stage").values()
    names = set(re.findall(r"\$context\.([A-Za-z.]+)", stage["AccessLogSettings"]["Format"]))
    assert not names & {"path", "customDomain.basePathMatched", "authorizer.claims.sub"}
    assert "routeKey" in names


def test_every_log_ends_and_every_alarm_reaches_the_address(content: dict[str, Any]) -> None:
    template = Template(content, AlarmEmail="team@example.org", LogRetentionDays=7)
    assert {entry["RetentionInDays"] for entry in template.of_type("AWS::Logs::LogGroup").values()} == {"7"}
    alarms = template.of_type("AWS::CloudWatch::Alarm")
    assert all(alarm["AlarmActions"] == ["AlarmTopic"] for alarm in alarms.values())
    quiet = Template(content).of_type("AWS::CloudWatch::Alarm")
    assert quiet.keys() == alarms.keys()
    assert not any("AlarmActions" in alarm for alarm in quiet.values())


def test_the_metrics_of_alarms_and_dashboard_are_those_of_the_request_log(content: dict[str, Any]) -> None:
    template = Template(content, Stage="prod")
    service = environment_of(content, Stage="prod")["SERVER_NAME"]
    alarms = template.of_type("AWS::CloudWatch::Alarm").values()
    found = {
        (alarm["MetricName"], alarm["Statistic"], alarm["Dimensions"][0]["Value"])
        for alarm in alarms
        if alarm.get("Namespace") == NAMESPACE
    }
    assert found == {("Attempts", "Average", service), ("Throttled", "Sum", service)}
    (dashboard,) = template.of_type("AWS::CloudWatch::Dashboard").values()
    shown = [metric for widget in json.loads(dashboard["DashboardBody"])["widgets"] for metric in _metrics(widget)]
    ours = [metric[1:4] for metric in shown if metric[0] == NAMESPACE]
    assert {name for name, *_ in ours} == UNITS.keys() - {"Latency"}
    assert {tuple(rest) for _, *rest in ours} == {("Service", service)}
    (search,) = [metric[0]["expression"] for metric in shown if isinstance(metric[0], dict)]
    assert search.startswith(f'SEARCH(\'{{{NAMESPACE},Service,Route}} MetricName="{BY_ROUTE[0]}" Service="{service}"\'')


def _metrics(widget: dict[str, Any]) -> list[Any]:
    found: list[Any] = widget["properties"]["metrics"]
    return found


def test_options_add_their_resources(content: dict[str, Any]) -> None:
    certificate = "arn:aws:acm:eu-west-1:123456789012:certificate/1"
    full = Template(
        content, FunctionUrl="NONE", DomainName="sync.example.org", CertificateArn=certificate, ReservedConcurrency=5
    )
    assert full.resources.keys() >= {"Url", "UrlPermission", "UrlInvokePermission", "Domain", "DomainMapping"}
    (function,) = full.of_type("AWS::Serverless::Function").values()
    assert function["ReservedConcurrentExecutions"] == "5"
    assert "UrlPermission" not in Template(content, FunctionUrl="AWS_IAM").resources
