"""The commands of a device, as a person uses them: with a real server, and without one."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

from scripts.engines import free_port
from sltt_core.api.bearer import authenticator_from_environment
from sltt_core.api.device_tokens import new_secret
from sltt_core.api.roles import RoleAccess
from sltt_core.cli.main import main
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from sltt_core.sync.device import Device
from tests.contract.logs import everything
from tests.sltt_core.auth.samples import SETTINGS, claims, token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from sltt_core.log.storage import BaseStorageService

NEEDS_YOU, USAGE, OUT_OF_REACH, HELD_BY_ANOTHER, REFUSED = 1, 2, 3, 4, 5


class Server(NamedTuple):
    """A running server and its log."""

    url: str
    storage: BaseStorageService


@contextmanager
def serving(path: Path) -> Iterator[Server]:
    storage = LocalStorageService(path)
    with RestApiServer(storage=storage, port=0) as running:
        yield Server(running.url, storage)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "server.db") as found:
        yield found


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "device.db"
    monkeypatch.setenv("SLTT_STORE", str(path))
    for name in ("SLTT_TOKEN", "SLTT_USER"):
        monkeypatch.delenv(name, raising=False)
    return path


def run(*words: str, code: int = 0, typed: str | None = None) -> Result:
    result = CliRunner().invoke(main, words, input=typed)
    assert result.exit_code == code, result.output
    return result


def values(*words: str, code: int = 0) -> Any:
    return json.loads(run(*words, "--json", code=code).stdout)


def begin(server: Server, *projects: str) -> None:
    run("init", "--server", server.url, *(projects or ("ruth",)))


def logged(server: Server, project: str = "ruth") -> list[tuple[str, dict[str, Any]]]:
    return [(change.entity_id, json.loads(change.data_json)) for change in everything(server.storage, project)]


def test_edits_wait_for_a_server(server: Server) -> None:
    begin(server)
    run("edit", "ruth", "create", "passage", "r1", '{"title": "Famine"}', "--user", "Noémie")
    run("edit", "ruth", "update", "passage", "r1", "-", typed='{"verses": 22}')
    assert values("status")["projects"]["ruth"]["outbox"] == {"waiting": 2}
    assert not logged(server)
    assert run("sync").stdout == "done: sent 2, received 0\n"
    assert logged(server) == [("r1", {"title": "Famine"}), ("r1", {"verses": 22})]
    assert next(iter(everything(server.storage, "ruth"))).change_by == "Noémie"
    assert run("outbox").stdout == "The outbox is empty.\n"


def test_what_others_wrote_comes_down(server: Server, tmp_path: Path) -> None:
    begin(server)
    with Device(tmp_path / "other.db", server.url) as other:
        other.project("ruth").create("passage", "r2", title="Return")
        assert other.sync().ok
    assert values("status", "--fetch")["projects"]["ruth"] | {"heardAt": None} == {
        "state": "following",
        "cursor": 0,
        "head": 1,
        "lag": 1,
        "heardAt": None,
        "syncedAt": None,
        "outbox": {},
        "problem": None,
    }
    result = values("sync", "ruth")
    assert (result["outcome"], result["received"], result["exitCode"]) == ("done", 1, 0)
    assert "cursor 1, head 1, lag 0; outbox empty; synced " in run("status").stdout


def test_a_refused_edit_is_corrected(server: Server) -> None:
    begin(server)
    run("edit", "ruth", "create", "passage", "r1", '{"title": "Famine"}')
    _make_invalid(Path(values("init", "--server", server.url)["store"]))
    run("edit", "ruth", "update", "passage", "r1", '{"verses": 22}')
    run("edit", "ruth", "create", "passage", "r2")
    result = run("sync", code=NEEDS_YOU)
    assert "Some edits need you" in result.stderr
    assert logged(server) == [("r2", {})]
    refused, held = values("rejected", "list")["edits"]
    assert (refused["state"], held["state"]) == ("rejected", "held")
    shown = run("rejected", "show", refused["cid"]).stdout
    assert "timestamp" in shown
    assert run("rejected", "drop", refused["cid"]).stdout.startswith(f"{refused['cid']}  rejected")
    assert values("sync")["sent"] == 1
    assert [edit["cid"] for edit in values("rejected", "list")["edits"]] == []


def _make_invalid(path: Path) -> None:
    """Give the last edit a time that the server refuses, as a faulty program would."""
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE outsyncs SET timestamp = 'yesterday' WHERE local = (SELECT max(local) FROM outsyncs)"
        )
    connection.close()


def test_an_edit_that_is_not_valid_names_its_field(server: Server) -> None:
    begin(server)
    assert "data" in run("edit", "ruth", "create", "passage", "r1", "{", code=NEEDS_YOU).stderr
    assert "entity_type" in run("edit", "ruth", "create", "no type", "r1", code=NEEDS_YOU).stderr
    run("edit", "ruth", "remove", "passage", "r1", code=USAGE)
    assert "reserved" in run("edit", "ruth", "create", "sltt.member", "r1", code=NEEDS_YOU).stderr
    assert values("outbox")["count"] == 0


def test_without_a_server_nothing_is_lost(server: Server) -> None:
    run("init", "--server", f"http://127.0.0.1:{free_port()}", "ruth")
    run("edit", "ruth", "create", "passage", "r1")
    assert values("sync", code=OUT_OF_REACH)["outcome"] == "offline"
    assert "offline" in run("sync", code=OUT_OF_REACH).stdout
    assert "Error" in run("status", "--fetch", code=OUT_OF_REACH).stderr
    begin(server)
    assert values("sync")["sent"] == 1


def test_another_process_has_the_store(server: Server, store: Path) -> None:
    begin(server)
    with Device(store):
        assert "store is open" in run("sync", code=HELD_BY_ANOTHER).stderr
    run("sync")


def test_a_missing_device_names_the_command_that_creates_one(store: Path) -> None:
    for words in (["sync"], ["status"], ["outbox"], ["rejected", "list"], ["edit", "ruth", "create", "passage", "r1"]):
        assert "sltt init" in run(*words, code=NEEDS_YOU).stderr
    assert not store.exists()


def test_a_file_of_another_kind_is_refused(store: Path) -> None:
    store.write_text("not a database, but long enough to be looked at as if it were one" * 20)
    assert "Error" in run("status", code=NEEDS_YOU).stderr


def test_a_diverged_project_needs_resync(server: Server, tmp_path: Path) -> None:
    begin(server)
    run("edit", "ruth", "create", "passage", "r1")
    run("sync")
    with serving(tmp_path / "restored.db") as restored:
        run("init", "--server", restored.url)
        result = run("sync", code=NEEDS_YOU)
        assert "ruth: diverged" in result.stderr
        assert "diverged" in run("status").stdout
        assert run("resync", "ruth").stdout == "ruth is together again\n"
        assert logged(restored) == [("r1", {})]
        run("sync")


def test_access_control_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorageService(tmp_path / "server.db")
    authenticator = authenticator_from_environment({"ACCESS_CONTROL": "roles"}, storage=storage)
    access = RoleAccess(storage)
    with RestApiServer(storage=storage, port=0, authenticator=authenticator, access=access) as server:
        secret = new_secret("token", "ruth", None)
        storage.create_token(secret.id, secret.digest(), "editor", "tablet", project_id="ruth")
        begin(Server(server.url, storage))
        run("edit", "ruth", "create", "passage", "r1")
        assert values("sync", code=REFUSED)["outcome"] == "paused"
        file = tmp_path / "token"
        file.write_text(f"{secret.reveal()}\n")
        assert values("sync", "--token-file", str(file))["sent"] == 1
        monkeypatch.setenv("SLTT_TOKEN", secret.reveal())
        run("sync")
        access.members_changed("ruth", storage.set_role(f"device:{secret.id}", "none", project_id="ruth"))
        assert values("sync", code=REFUSED)["projects"]["ruth"]["type"] == "access-revoked"
        run("edit", "ruth", "update", "passage", "r1")
        run("sync", code=REFUSED)
        assert "no longer a member" in run("status").stdout
        assert values("outbox")["count"] == 1


def test_a_device_creates_a_project_where_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorageService(tmp_path / "server.db")
    authenticator = authenticator_from_environment(SETTINGS, storage=storage)
    monkeypatch.setenv("SLTT_TOKEN", token("HS256", claims(sub="ada")))
    with RestApiServer(storage=storage, port=0, authenticator=authenticator, access=RoleAccess(storage)) as server:
        begin(Server(server.url, storage))
        assert values("sync")["outcome"] == "done"
        run("edit", "ruth", "create", "passage", "r1")
        assert values("sync")["sent"] == 1
        assert storage.get_members(project_id="ruth").roles["ada"].role == "owner"


def test_wrong_values_are_refused_and_change_nothing(server: Server, store: Path, tmp_path: Path) -> None:
    assert "server is not the URL of an API" in run("init", "--server", "nonsense", "ruth", code=NEEDS_YOU).stderr
    assert not store.exists()
    begin(server)
    assert "does not follow the project esther" in run("resync", "esther", code=NEEDS_YOU).stderr
    assert "project_id is not valid" in run("sync", "not/valid", code=NEEDS_YOU).stderr
    file = tmp_path / "file"
    for text in (b"two words", b"\xff", "clé".encode()):
        file.write_bytes(text)
        assert "token" in run("sync", "--token-file", str(file), code=NEEDS_YOU).stderr
    assert "has no edit" in run("rejected", "drop", "nothing", code=NEEDS_YOU).stderr
    assert list(values("status")["projects"]) == ["ruth"]


def test_purge_keeps_the_outbox(server: Server) -> None:
    begin(server)
    run("edit", "ruth", "create", "passage", "r1")
    run("sync")
    run("edit", "ruth", "update", "passage", "r1")
    assert run("purge", "ruth").stdout == "ruth: what came down is deleted; 1 in the outbox\n"
    assert values("status")["projects"]["ruth"]["cursor"] == 0


def test_the_log_of_a_device_is_served_read_only(server: Server, store: Path) -> None:
    from sltt_core.server.storages import open_storage
    from sltt_core.sync.remote import Client

    begin(server)
    run("edit", "ruth", "create", "passage", "r1")
    run("sync")
    with RestApiServer(storage=open_storage(f"device:{store}"), port=0) as lan, Client(lan.url) as client:
        assert [change.entity_id for change in client.changes_after("ruth").changes] == ["r1"]
        run("edit", "ruth", "create", "passage", "r2")
        run("sync")
        assert len(client.changes_after("ruth").changes) == 2
        with pytest.raises(Exception, match="read-only"):
            client.append([{"projectId": "ruth", "entityType": "a", "entityId": "b", "data": {}}])
