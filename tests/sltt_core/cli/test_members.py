"""`sltt member`, as a person uses it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from sltt_core.cli.main import main
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import everything

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "team.db"


def run(path: Path, *words: str, project: str = "ruth") -> Result:
    return CliRunner().invoke(main, ["member", *words, "--project", project, "--storage", f"sqlite:{path}"])


def output(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_first_owner_needs_no_server(path: Path) -> None:
    assert run(path, "add", "ada", "--role", "owner").output == "owner   ada  (change 1)\n"
    assert output(run(path, "add", "Noémie", "--role", "editor", "--json"))["since"] == 2
    assert run(path, "list").output == "editor  Noémie  (change 2)\nowner   ada  (change 1)\n"
    with LocalStorageService(path) as storage:
        assert [change.entity_id for change in everything(storage, "ruth")] == ["ada", "Noémie"]


def test_former_members_are_listed_on_request(path: Path) -> None:
    run(path, "add", "ada", "--role", "owner")
    run(path, "add", "bob", "--role", "viewer")
    assert output(run(path, "remove", "bob", "--json")) == {"principal": "bob", "role": "none", "since": 3}
    assert [member["principal"] for member in output(run(path, "list", "--json"))["members"]] == ["ada"]
    listed = output(run(path, "list", "--all", "--json"))
    assert [(member["principal"], member["role"]) for member in listed["members"]] == [
        ("ada", "owner"),
        ("bob", "none"),
    ]


def test_a_project_without_members_says_so(path: Path) -> None:
    assert run(path, "list").output == "project ruth has no members\n"
    assert output(run(path, "list", "--json")) == {"members": [], "count": 0}


@pytest.mark.parametrize(
    ("words", "project", "message", "code"),
    [
        (["remove", "ada"], "ruth", "Error: ada is the only owner of the project\nHint: Make another member", 1),
        (["remove", "bob"], "ruth", "Error: bob is not a member of project ruth", 1),
        (["add", "", "--role", "owner"], "ruth", "Error: principal is empty", 1),
        (["add", "bob", "--role", "owner"], "ru/th", "Error: project_id is not valid", 1),
        (["add", "bob", "--role", "none"], "ruth", "'none' is not one of 'viewer', 'editor', 'owner'", 2),
        (["add", "bob"], "ruth", "Missing option '--role'", 2),
    ],
)
def test_mistakes_are_explained(path: Path, words: list[str], project: str, message: str, code: int) -> None:
    run(path, "add", "ada", "--role", "owner")
    result = run(path, *words, project=project)
    assert message in result.output
    assert result.exit_code == code
    assert "Traceback" not in result.output
    with LocalStorageService(path) as storage:
        assert storage.get_head(project_id="ruth").seq == 1


def test_a_storage_that_cannot_be_opened_is_explained(tmp_path: Path) -> None:
    result = run(tmp_path, "list")
    assert result.exit_code == 1
    assert result.output.startswith("Error: cannot open ")
