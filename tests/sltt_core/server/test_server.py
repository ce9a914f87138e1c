"""The server on a real port: start, stop, limits, hosts, signals."""

from __future__ import annotations

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sltt_core.base.errors import InvalidInput, NotALog, StorageError
from sltt_core.server.hosts import host_of, is_loopback
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.server.storages import open_storage
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import batch, new
from tests.sltt_core.server.command import read_banner, start_sltt, try_the_curls

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = {"content-type": "application/json"}


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorageService:
    return LocalStorageService(tmp_path / "log.db")


@pytest.fixture
def server(storage: LocalStorageService) -> Iterator[RestApiServer]:
    running = RestApiServer(server_name="test", storage=storage)
    running.start(port=0)
    yield running
    running.stop()


def test_the_server_responds_on_its_port_until_it_is_stopped(storage: LocalStorageService) -> None:
    server = RestApiServer(server_name="mine", storage=storage)
    server.start(port=0)
    url = server.url
    response = httpx.get(f"{url}/health")
    assert response.status_code == 200
    assert response.json().keys() == {"status", "timestamp", "server", "storageType"}
    assert response.json()["status"] == "healthy"
    assert response.json()["server"] == "mine"
    server.stop()
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
    with pytest.raises(StorageError, match="not open"):
        storage.get_head(project_id="p")
    with pytest.raises(StorageError, match="not running"):
        _ = server.url


def test_a_with_block_serves_until_its_end(storage: LocalStorageService) -> None:
    with RestApiServer(storage=storage, server_name="mine", port=0) as server:
        url = server.url
        assert httpx.get(f"{url}/health").json()["server"] == "mine"
        storage.create_change(new())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
    with pytest.raises(StorageError, match="not open"):
        storage.get_head(project_id="p")


def test_an_error_in_a_with_block_stops_the_server_and_is_raised(storage: LocalStorageService) -> None:
    urls: list[str] = []

    def fail_inside() -> None:
        with RestApiServer(storage=storage, port=0) as server:
            urls.append(server.url)
            raise KeyError("mistake")

    with pytest.raises(KeyError, match="mistake"):
        fail_inside()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{urls[0]}/health")
    with pytest.raises(StorageError, match="not open"):
        storage.get_head(project_id="p")


def test_a_with_block_may_stop_the_server_itself_and_be_used_again(storage: LocalStorageService) -> None:
    server = RestApiServer(storage=storage, port=0)
    for _ in range(2):
        with server:
            assert httpx.get(f"{server.url}/health").status_code == 200
            server.stop()


def test_a_server_that_runs_is_not_started_again(server: RestApiServer) -> None:
    with pytest.raises(StorageError, match=f"running already, on {server.url}"):
        server.start(port=0)
    with pytest.raises(StorageError, match="running already"), server:
        pass
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_the_constructor_and_start_accept_the_same_settings(server: RestApiServer, tmp_path: Path) -> None:
    port = int(server.url.rpartition(":")[2])
    other = RestApiServer(storage=LocalStorageService(tmp_path / "other.db"), port=port)
    with pytest.raises(InvalidInput, match=f"port {port}: Address already in use"), other:
        pass
    other.start(port=0)
    assert other.url != server.url
    other.stop()
    with pytest.raises(InvalidInput, match="other machines"):
        RestApiServer(storage=LocalStorageService(tmp_path / "other.db"), port=0, host="0.0.0.0").start()
    with RestApiServer(storage=LocalStorageService(tmp_path / "other.db"), port=0, open_to_network=True) as opened:
        assert httpx.get(f"{opened.url}/health", headers={"host": "sync.example.org"}).status_code == 200


def test_a_port_in_use_is_reported(server: RestApiServer, tmp_path: Path) -> None:
    port = int(server.url.rpartition(":")[2])
    other = RestApiServer(storage=LocalStorageService(tmp_path / "other.db"))
    with pytest.raises(InvalidInput, match=f"port {port}: Address already in use"):
        other.start(port=port)
    assert not (tmp_path / "other.db").exists()


def test_an_invalid_storage_releases_the_port(tmp_path: Path) -> None:
    (tmp_path / "diary").write_text("dear")
    server = RestApiServer(storage=LocalStorageService(tmp_path / "diary"))
    for _ in range(2):
        with pytest.raises(NotALog):
            server.start(port=0)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::", "", "localhost.example.org"])
def test_an_address_for_other_machines_needs_open_to_network(storage: LocalStorageService, host: str) -> None:
    with pytest.raises(InvalidInput, match="other machines"):
        RestApiServer(storage=storage).start(port=0, host=host)


def test_an_open_server_accepts_any_host(storage: LocalStorageService) -> None:
    server = RestApiServer(storage=storage)
    server.start(port=0, open_to_network=True)
    assert httpx.get(f"{server.url}/health", headers={"host": "sync.example.org"}).status_code == 200
    server.stop()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "0.0.0.0",
        "",
        "[::1]evil.example",
        "[::1]:80.evil.example",
        "127.0.0.1:evil.example",
    ],
)
def test_another_host_name_is_refused_on_loopback(server: RestApiServer, host: str) -> None:
    response = httpx.get(f"{server.url}/health", headers={"host": host})
    assert response.status_code in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "127.9.9.9", "[::1]:8080"])
def test_loopback_names_are_accepted(server: RestApiServer, host: str) -> None:
    assert httpx.get(f"{server.url}/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("a.b:80", "a.b"),
        ("a.b", "a.b"),
        ("a.b:", "a.b"),
        ("a.b:65535", "a.b"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("", ""),
    ],
)
def test_host_of_removes_the_port(header: str, host: str) -> None:
    assert host_of(header) == host


NOT_HOSTS = [
    "[::1]evil.example",
    "[::1].evil.example",
    "[::1]:80evil.example",
    "[::1]:80:80",
    "[::1",
    "::1",
    "[::1]]",
    "[[::1]]",
    "[]",
    "[localhost]",
    "[127.0.0.1]",
    "127.0.0.1]",
    "[127.0.0.1",
    "[::1%25lo]",
    "127.0.0.1:evil.example",
    "127.0.0.1:80:evil.example",
    "127.0.0.1:80@evil.example",
    "localhost:80/evil.example",
    "localhost:80.evil.example",
    "localhost:65536",
    "localhost:" + "9" * 5000,
    "localhost:-1",
    "localhost:٨٠",
    "localhost?",
    "localhost#",
    "localhost@",
    "localhost,localhost",
    "local host",
    "localhost\t",
    "localhost\n",
    "evil.example@localhost",
    "http://localhost",
    "localhost..",
    ".localhost",
    "0x7f.0.0.1",
    "127.1",
    "2130706433",
    "%6cocalhost",
    ":80",
    ":",
]


@pytest.mark.parametrize("header", NOT_HOSTS)
def test_what_is_not_a_loopback_host_and_a_port_is_not_accepted(header: str) -> None:
    assert not is_loopback(host_of(header))


def test_is_loopback_accepts_only_loopback_names() -> None:
    for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "LocalHost", "localhost."):
        assert is_loopback(host)
    for host in ("", "0.0.0.0", "::", "10.0.0.1", "localhost.localdomain", "127.0.0.1.nip.io", "example.org"):
        assert not is_loopback(host)


def test_a_body_that_is_too_large_is_413(server: RestApiServer) -> None:
    for size in (4_000_001, 9_000_000):
        response = httpx.post(f"{server.url}/api/changes", content=b" " * size, headers=JSON)
        assert response.status_code == 413
        assert response.json()["type"] == "urn:sltt:problem:payload-too-large"
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_a_body_of_exactly_the_limit_is_read(server: RestApiServer) -> None:
    change = b'[{"projectId":"p","entityType":"t","entityId":"e","data":{}}]'
    response = httpx.post(f"{server.url}/api/changes", content=change.rjust(4_000_000), headers=JSON)
    assert response.status_code == 200


def test_a_head_request_gets_the_headers_of_the_response(server: RestApiServer) -> None:
    get, head = httpx.get(f"{server.url}/api/help"), httpx.head(f"{server.url}/api/help")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_a_connection_closed_during_a_request_does_not_disturb_the_next(server: RestApiServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /api/changes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[")
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_stopping_finishes_requests_in_flight(storage: LocalStorageService) -> None:
    server = RestApiServer(storage=storage)
    entered, go_on = Event(), Event()
    append = storage._append

    def slow(chunk: Any) -> Any:
        entered.set()
        assert go_on.wait(30)
        return append(chunk)

    storage._append = slow  # type: ignore[method-assign]
    server.start(port=0)
    body = b'{"projectId":"p","entityType":"t","entityId":"e","data":{}}'
    with ThreadPoolExecutor(2) as threads:
        response = threads.submit(httpx.post, f"{server.url}/api/changes", content=body, headers=JSON)
        assert entered.wait(30)
        stopping = threads.submit(server.stop)
        go_on.set()
        assert response.result(30).json()["createdSeqs"] == [1]
        stopping.result(30)


def test_many_clients_write_at_once(server: RestApiServer, storage: LocalStorageService) -> None:
    body = b'{"projectId":"p","entityType":"t","entityId":"e","data":{}}'

    def write(_: int) -> list[int]:
        with httpx.Client(base_url=server.url, headers=JSON) as client:
            return [client.post("/api/changes", content=body).json()["createdSeqs"][0] for _ in range(15)]

    with ThreadPoolExecutor(8) as threads:
        seqs = [seq for found in threads.map(write, range(8)) for seq in found]
    assert sorted(seqs) == list(range(1, 121))


@pytest.mark.parametrize(
    "target",
    ["/api/projects/日本/changes", "/api/projects/p/changes?entityId=日本", "/日本", "/api/projects/a b/stats"],
)
def test_a_url_that_is_not_percent_encoded_is_refused_with_what_to_do(server: RestApiServer, target: str) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET " + target.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert "percent-encode" in json.loads(body)["hint"]
    encoded = httpx.get(f"{server.url}/api/projects/p/changes?entityId=%E6%97%A5%E6%9C%AC")
    assert encoded.status_code == 200


# Storages by name


def test_a_storage_is_found_by_its_scheme(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:{tmp_path / 'x.db'}", "p")
    assert isinstance(storage, LocalStorageService)
    assert (storage.path, storage.project_id) == (tmp_path / "x.db", "p")


FILE = "Name a file, for example sqlite:team.db."


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        *[(url, "Did you mean sqlite:team.db?") for url in ("", " ", "sqlite", "sqlite:", ":memory:", "sqlite3:")],
        *[(f"{prefix}team.db", "Did you mean sqlite:team.db?") for prefix in ("", " sqlite:", "SQLITE:", "sqlite3:")],
        *[(f"{prefix}team.db", "Did you mean sqlite:team.db?") for prefix in ("sqllite:", "file:", "sqlite:file:")],
        *[(f"{prefix}team.db", "Did you mean sqlite:team.db?") for prefix in ("sqlite://", "sqlite:sqlite:")],
        ("sqlite:file:team.db?mode=ro&cache=shared", "Did you mean sqlite:team.db?"),
        ("sqlite:team.db?mode=rwc", "Did you mean sqlite:team.db?"),
        ("./team", "Did you mean sqlite:./team?"),
        ("logs/team", "Did you mean sqlite:logs/team?"),
        ("/logs/team", "Did you mean sqlite:/logs/team?"),
        ("logs/", "Did you mean sqlite:logs/changes.db?"),
        ("C:\\team.db", "Did you mean sqlite:C:\\team.db?"),
        ("~/team.db", "Did you mean sqlite:/home/ada/team.db?"),
        ("sqlite:~/team.db", "Did you mean sqlite:/home/ada/team.db?"),
        ("sqlite:logs/", "Did you mean sqlite:logs/changes.db?"),
        ("sqlite:///logs/team.db", "Did you mean sqlite:/logs/team.db or sqlite:logs/team.db?"),
        ("sqlite:////logs/team.db", "Did you mean sqlite:/logs/team.db?"),
        ("file:///logs/team.db", "Did you mean sqlite:/logs/team.db?"),
        ("file://localhost/logs/team.db", "Did you mean sqlite:/logs/team.db?"),
        *[(url, FILE) for url in ("sqlite::memory:", "sqlite://:memory:", "sqlite:file::memory:?cache=shared")],
        *[(url, FILE) for url in ("sqlite:file:x?mode=memory", "sqlite://", "sqlite:/", "sqlite:a\0b", "sqlite: ")],
        *[(url, FILE) for url in ("mysql:x", "postgres://host/team", ":x", "http://localhost:8000")],
        ("team", "Did you mean sqlite:team.db or dynamodb:team?"),
        *[(url, "Did you mean dynamodb:team?") for url in ("dynamodb", "dynamodb:", "dynamo:team", "DynamoDB:team")],
        ("arn:aws:dynamodb:eu-west-1:123456789012:table/team", "Did you mean dynamodb:team?"),
    ],
)
def test_a_name_that_is_no_storage_is_refused_with_what_is_meant(
    url: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"storage .* is not valid") as caught:
        open_storage(url)
    assert (caught.value.field, caught.value.hint) == ("storage", hint)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["-team.db", "~team.db", "a b.db", "what?.db", "x=1?", "日本.db", "sqlite", ".hidden"])
def test_an_unusual_path_is_a_path(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_storage(f"sqlite:{path}"):
        assert (tmp_path / path).is_file()


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("", "Name a file, for example team.db."),
        (":memory:", "Name a file, for example team.db."),
        ("file::memory:", "Name a file, for example team.db."),
        ("sqlite:team.db", "Did you mean team.db?"),
        ("file:team.db?mode=ro", "Did you mean team.db?"),
    ],
)
def test_a_name_that_is_no_path_is_refused_from_python(path: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=r"path .* is not valid") as caught:
        LocalStorageService(path)
    assert (caught.value.field, caught.value.hint) == ("path", hint)


def test_a_folder_is_refused_with_a_file_in_it(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="it is a folder") as caught:
        open_storage(f"sqlite:{tmp_path}").initialize()
    assert caught.value.hint == f"Name a file in it: {tmp_path / 'changes.db'}."


def test_the_banner_shows_the_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    process = start_sltt("serve", "--port", "0", "--storage", "sqlite:team.db")
    _, lines = read_banner(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert lines[0].endswith(f" serves sqlite:team.db at {tmp_path / 'team.db'}\n")


# The command


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_sltt_serve_serves_until_a_signal(tmp_path: Path, end: signal.Signals) -> None:
    path = tmp_path / "team.db"
    process = start_sltt("serve", "--port", "0", "--storage", f"sqlite:{path}", "--name", "team")
    _, lines = read_banner(process)
    assert str(path) in lines[0]
    try_the_curls(lines)
    process.send_signal(end)
    out, err = process.communicate(timeout=30)
    assert "stopped" in out
    assert [(line["route"].partition(" ")[0], line["status"]) for line in map(json.loads, err.splitlines())] == [
        ("POST", 200),
        ("GET", 200),
        ("GET", 200),
    ]
    assert process.returncode == 0
    with LocalStorageService(path) as storage:
        assert storage.get_head(project_id="ruth").seq == 1


def test_sltt_serve_keeps_its_log_in_the_data_folder_by_default(tmp_path: Path) -> None:
    process = start_sltt("serve", "--port", "0", XDG_DATA_HOME=str(tmp_path), HOME=str(tmp_path))
    _, lines = read_banner(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    [path] = tmp_path.rglob("changes.db")
    assert str(path) in lines[0]


def test_sltt_serve_with_a_project_needs_no_project_id_in_requests(tmp_path: Path) -> None:
    process = start_sltt("serve", "--port", "0", "--storage", f"sqlite:{tmp_path / 'x.db'}", "--project", "mark")
    url, _ = read_banner(process)
    response = httpx.post(f"{url}/api/changes", json={"entityType": "t", "entityId": "e", "data": {}})
    assert response.json()["createdSeqs"] == [1]
    assert httpx.get(f"{url}/api/projects/mark/stats").json()["changeStats"]["total"] == 1
    assert httpx.get(f"{url}/api/projects/luke/stats").status_code == 404
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--storage", "mysql:x"], "storage 'mysql:x' is not valid"),
        (["--storage", "sqlite:/nowhere/at/all.db"], "there is no folder /nowhere/at"),
        (["--storage", "sqlite:{tmp}/diary"], "is not an SQLite database"),
        (["--storage", "sqlite:{tmp}/x.db", "--project", "a#b"], "project_id is not valid: 1 to 128"),
        (["--storage", "sqlite:{tmp}/x.db", "--host", "0.0.0.0"], "--open-to-network"),
        (["--storage", "sqlite:{tmp}/x.db", "--port", "{port}"], "port {port}: Address already in use"),
        (
            ["--storage", "sqlite:{tmp}/x.db", "--host", "::", "--open-to-network"],
            "--open-to-network needs access control",
        ),
    ],
    ids=["scheme", "folder", "foreign", "project", "host", "port", "open"],
)
def test_an_invalid_argument_prints_a_message_without_a_traceback(
    tmp_path: Path, server: RestApiServer, arguments: list[str], message: str
) -> None:
    (tmp_path / "diary").write_text("dear")
    values = {"tmp": str(tmp_path), "port": server.url.rpartition(":")[2]}
    process = start_sltt("serve", *(argument.format(**values) for argument in arguments))
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert message.format(**values) in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 2
    assert out == ""


def test_help_shows_examples() -> None:
    for arguments in (["--help"], ["serve", "--help"]):
        out, _ = start_sltt(*arguments).communicate(timeout=30)
        assert "Examples:" in out
        assert "sltt serve" in out


def test_the_service_and_the_server_may_share_a_file(server: RestApiServer, storage: LocalStorageService) -> None:
    with LocalStorageService(storage.path) as beside:
        beside.create_changes(batch(2))
    storage.create_change(new())
    assert httpx.get(f"{server.url}/api/projects/p/changes").json()["count"] == 3
