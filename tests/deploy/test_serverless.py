"""deploy/serverless.yml: packaged by the real command, without a network, and the same resources as template.yaml."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file

from scripts.package import TARGET
from tests.deploy.templates import Template, load
from tests.deploy.test_template import ACCEPTED, PATH

ROOT = PATH.parents[1]
COMMAND = ROOT / "node_modules" / ".bin" / "serverless"
OF_SERVERLESS = {"ServerlessDeploymentBucket", "ServerlessDeploymentBucketPolicy", "ApiLambdaFunctionAliaslive"}
ACCEPTED_HERE = {
    **ACCEPTED,
    "W2001": "the parameter Rollout is for AWS SAM",
    "W3005": "serverless writes a dependency on the role that is there anyway",
}
MARKED = {"AWS_ACCESS_KEY_ID": "AKIAMARKEDMARKED0000", "AWS_SECRET_ACCESS_KEY": "marked-secret-marked-secret"}


def package(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run `serverless package` and return the template that it writes."""
    for name in ("deploy", "dist"):
        (folder / name).mkdir()
    for file in (PATH, PATH.with_name("serverless.yml")):
        shutil.copy(file, folder / "deploy")
    (folder / "dist" / TARGET.name).write_bytes(b"PK\x05\x06" + bytes(18))
    ran = subprocess.run(
        [COMMAND, "package", *arguments],
        cwd=folder / "deploy",
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "CI": "1", "SLS_TELEMETRY_DISABLED": "1", **MARKED},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "eprecat" not in ran.stdout + ran.stderr
    return load(folder / "deploy" / ".serverless" / "cloudformation-template-update-stack.json")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return package(tmp_path_factory.mktemp("shared"), "--stage", "prod", "--region", "eu-west-1")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return package(
        tmp_path_factory.mktemp("own"), "--stage", "prod", "--param=project=project-a-123", "--param=memorySize=1024"
    )


def test_cfn_lint_accepts_it(shared: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(shared))
    assert not [match for match in lint_file(path) if match.rule.id not in ACCEPTED_HERE]


def test_it_has_the_resources_of_the_template(shared: dict[str, Any]) -> None:
    ours, theirs = Template(load(PATH), Stage="prod").resources, Template(shared).resources
    assert theirs.keys() - OF_SERVERLESS == ours.keys()
    for name in ours.keys() - {"ApiLambdaFunction"}:
        assert theirs[name] == ours[name], name


def test_it_has_the_parameters_of_the_template(shared: dict[str, Any]) -> None:
    ours = load(PATH)["Parameters"]
    theirs = shared["Parameters"]
    assert theirs.keys() == ours.keys()
    for name in ours.keys() - {"Stage"}:
        assert str(theirs[name]["Default"]) == str(ours[name]["Default"]), name


def test_the_function_is_the_one_of_the_template(shared: dict[str, Any]) -> None:
    ours = Template(load(PATH), Stage="prod").resources["ApiLambdaFunction"]["Properties"]
    theirs = Template(shared).resources["ApiLambdaFunction"]["Properties"]
    same = (
        "Handler",
        "Runtime",
        "Architectures",
        "MemorySize",
        "Timeout",
        "Environment",
        "LoggingConfig",
        "Description",
    )
    assert {name: theirs[name] for name in same} == {name: ours[name] for name in same}
    assert theirs["FunctionName"] == "sltt-prod-all-api"
    assert theirs["Code"]["S3Key"].endswith("/lambda.zip")


def test_a_project_has_a_function_of_its_own(own: dict[str, Any]) -> None:
    template = Template(own)
    function = template.resources["ApiLambdaFunction"]["Properties"]
    assert function["FunctionName"] == "sltt-prod-project-a-123-api"
    assert function["MemorySize"] == "1024"
    assert function["Environment"]["Variables"]["PROJECT_ID"] == "project-a-123"
    assert not template.of_type("AWS::DynamoDB::Table")


def test_no_secret_of_the_machine_is_in_it(shared: dict[str, Any], own: dict[str, Any]) -> None:
    text = json.dumps([shared, own])
    assert not [value for value in MARKED.values() if value in text]
