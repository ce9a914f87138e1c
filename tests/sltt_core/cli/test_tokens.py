"""`sltt token` and `sltt invite`, as a person uses them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from sltt_core.api.device_tokens import DeviceTokens, parse_code
from sltt_core.base.errors import Unauthenticated
from sltt_core.cli.main import main
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "team.db"


def run(path: Path, *words: str, project: str = "ruth") -> Result:
    return CliRunner().invoke(main, [*words, "--project", project, "--storage", f"sqlite:{path}"])


def output(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_token_is_printed_once_and_works_until_it_is_revoked(path: Path) -> None:
    result = run(path, "token", "create", "--name", "tablet 7", "--role", "editor")
    text = result.stdout.strip()
    assert text.startswith("sltt_")
    assert "not shown again" in result.stderr
    with LocalStorageService(path) as storage:
        principal = DeviceTokens(storage).use_token(text)
        assert storage.get_members(project_id="ruth").roles[principal.id].role == "editor"
    (listed,) = output(run(path, "token", "list", "--json"))["tokens"]
    assert (listed["principal"], listed["name"], listed["revokedAt"]) == (principal.id, "tablet 7", None)
    assert text not in run(path, "token", "list").output
    assert run(path, "token", "revoke", listed["id"]).output == f"{listed['id']}  revoked  tablet 7\n"
    assert "revoked" in run(path, "token", "list").output
    with LocalStorageService(path) as storage, pytest.raises(Unauthenticated):
        DeviceTokens(storage).use_token(text)


def test_json_has_the_token_too(path: Path) -> None:
    made = output(run(path, "token", "create", "--name", "ci", "--role", "viewer", "--json"))
    assert made["token"].startswith(f"sltt_{made['id']}_")
    assert output(run(path, "token", "revoke", made["id"], "--json"))["revokedAt"]


def test_a_project_without_tokens_says_so(path: Path) -> None:
    assert run(path, "token", "list").output == "project ruth has no device tokens\n"


def test_an_invitation_can_be_accepted(path: Path) -> None:
    made = output(run(path, "invite", "--role", "editor", "--uses", "2", "--json"))
    with LocalStorageService(path) as storage:
        invitation, members = storage.accept_invitation(parse_code(made["code"]).id, "joao")
    assert (invitation.uses, members.roles["joao"].role) == (1, "editor")
    assert run(path, "invite", "--role", "viewer").stdout.startswith("sltti_")


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["token", "create", "--name", "", "--role", "editor"], "Error: name is empty", 1),
        (["token", "create", "--name", "x"], "Missing option '--role'", 2),
        (["token", "revoke", "x" * 16], "Error: ", 1),
        (["token", "revoke", "x"], "Error: ", 1),
        (["invite", "--role", "none"], "'none' is not one of", 2),
        (["invite", "--role", "editor", "--days", "0"], "0 is not in the range", 2),
    ],
)
def test_mistakes_are_explained(path: Path, words: list[str], message: str, code: int) -> None:
    result = run(path, *words)
    assert message in result.output
    assert result.exit_code == code
    assert "Traceback" not in result.output
