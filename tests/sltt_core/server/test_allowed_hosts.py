"""Which `Host` headers a server accepts, and what the refusal says to whom."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import httpx
import pytest

from sltt_core.api.http import Request
from sltt_core.base.errors import InvalidInput
from sltt_core.server.access_log import AccessLog
from sltt_core.server.allowed_hosts import AllowedHosts
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from pathlib import Path


def allows(names: list[str], host: str, *, every: bool = False) -> bool:
    return AllowedHosts(names, every=every).refusal(Request("GET", "/", "", {"host": host}), "127.0.0.1") is None


@pytest.mark.parametrize("host", ["10.0.2.2:8080", "app.localhost", "a.b.localhost:80", "evil.example", ""])
def test_only_names_of_this_machine_are_accepted_by_default(host: str) -> None:
    assert not allows([], host)
    assert allows([], host, every=True)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("10.0.2.2", "10.0.2.2"),
        ("10.0.2.2", "10.0.2.2:8080"),
        ("app.localhost", "App.Localhost:80"),
        ("App.Localhost.", "app.localhost"),
        ("app.localhost", "app.localhost."),
        ("*.localhost", "app.localhost"),
        ("*.localhost", "a.b.localhost:80"),
        ("*.example.org", "sync.example.org"),
        ("fd00::1", "[fd00::1]:80"),
        ("[FD00:0::1]", "[fd00::1]"),
        ("tablet_7.local", "tablet_7.local"),
    ],
)
def test_an_allowed_name_is_accepted_with_any_port_and_spelling(name: str, host: str) -> None:
    assert allows([name], host)
    assert allows(["other.example", name], host)
    assert allows([name], "localhost:1")
    assert allows([name], "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("10.0.2.2", "10.0.2.20"),
        ("10.0.2.2", "10.0.2.2.evil.example"),
        ("app.localhost", "other.localhost"),
        ("app.localhost", "x.app.localhost"),
        ("*.example.org", "example.org"),
        ("*.example.org", "badexample.org"),
        ("*.example.org", "sync.example.org.evil.example"),
        ("*.localhost", "localhost.evil.example"),
    ],
)
def test_an_allowed_name_allows_no_other(name: str, host: str) -> None:
    assert not allows([name], host)
    assert not allows([name], host, every=True)  # a list that is given applies


@pytest.mark.parametrize(
    "name",
    [
        "",
        "*",
        "*.",
        "http://10.0.2.2",
        "10.0.2.2:8080",
        "[fd00::1]:80",
        "a b",
        "a/b",
        "*.*.org",
        "a.*.org",
        "日本",
        "a..b",
    ],
)
def test_what_is_no_host_is_refused_at_the_start(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not the name of a host") as caught:
        RestApiServer(storage=LocalStorageService(tmp_path / "log.db"), allow_hosts=[name])
    assert caught.value.field == "allow_hosts"


@pytest.mark.parametrize(
    ("host", "name"),
    [("10.0.2.2:8080", "10.0.2.2"), ("App.localhost", "app.localhost"), ("[fd00::1]:1", "fd00::1"), ("$(rm)", "NAME")],
)
def test_a_local_client_and_the_log_learn_the_option_and_others_do_not(host: str, name: str, tmp_path: Path) -> None:
    lines = io.StringIO()
    log = AccessLog(lines)
    with RestApiServer(storage=LocalStorageService(tmp_path / "log.db"), port=0, access_log=log) as server:
        local = httpx.get(f"{server.url}/health", headers={"host": host})
        through_a_proxy = httpx.get(f"{server.url}/health", headers={"host": host, "x-forwarded-for": "203.0.113.9"})
    assert (local.status_code, through_a_proxy.status_code) == (421, 421)
    assert f" --allow-host {name} " in local.json()["hint"]
    assert "--allow-host" not in through_a_proxy.text
    assert "server's log says how" in through_a_proxy.json()["hint"]
    assert f" --allow-host {name} " in json.loads(lines.getvalue().splitlines()[1])["hint"]


@pytest.mark.parametrize("peer", ["203.0.113.9", "fd00::9", "", None])
def test_a_remote_client_does_not_learn_the_option(peer: str | None) -> None:
    refusal = AllowedHosts().refusal(Request("GET", "/", "", {"host": "10.0.2.2"}), peer)
    assert refusal is not None
    assert "--" not in refusal.message + refusal.hint
    assert "--allow-host 10.0.2.2 " in refusal.operator_hint


def test_a_real_server_accepts_what_is_allowed(tmp_path: Path) -> None:
    hosts = ["10.0.2.2", "*.localhost"]
    with RestApiServer(storage=LocalStorageService(tmp_path / "log.db"), port=0, allow_hosts=hosts) as server:
        statuses = {
            host: httpx.get(f"{server.url}/health", headers={"host": host}).status_code
            for host in ("10.0.2.2:8080", "app.localhost", "localhost", "evil.example")
        }
    assert list(statuses.values()) == [200, 200, 200, 421]


def test_without_an_access_log_a_refusal_is_a_record_of_level_info(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sltt.server")
    with RestApiServer(storage=LocalStorageService(tmp_path / "log.db"), port=0) as server:
        httpx.get(f"{server.url}/health", headers={"host": "10.0.2.2"})
    ((name, level, message),) = [found for found in caplog.record_tuples if found[0] == "sltt.server"]
    assert (name, level) == ("sltt.server", logging.INFO)
    assert "--allow-host 10.0.2.2 " in json.loads(message)["hint"]
