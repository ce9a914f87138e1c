"""HTTP clients as they are: Java's, kept connections, IPv6."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sltt_core.server.asgi import KEEP_ALIVE_SECONDS
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.hostile.raw import CLOSE, HOST, Connection, chunked, get, post
from tests.hostile.row import GOOD
from tests.hostile.rows_of_http import IN_CHUNKS_AND_UPGRADE, UPGRADE

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorageService:
    return LocalStorageService(tmp_path / "log.db")


@pytest.fixture
def server(storage: LocalStorageService) -> Iterator[RestApiServer]:
    with RestApiServer(storage=storage, port=0) as running:
        yield running


def test_javas_http_client_can_append(server: RestApiServer, storage: LocalStorageService) -> None:
    java = shutil.which("java")
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True).stdout if java else ""
    if java is None or "jdk.compiler" not in modules or "java.net.http" not in modules:
        pytest.skip("no JDK 17 is installed: a Java runtime alone cannot compile the client")
    source = Path(__file__).with_name("Post.java")
    done = subprocess.run([java, str(source), server.url, GOOD.decode()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [*["POST HTTP_1_1 200", "POST again HTTP_1_1 200"] * 2, "GET HTTP_1_1 200"]
    assert storage.get_head(project_id="p").seq == 4


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_requests_after_one_that_offers_an_upgrade_are_read(
    server: RestApiServer, storage: LocalStorageService, step: int
) -> None:
    offers = [
        post(GOOD, UPGRADE + b"h2c\r\n"),
        IN_CHUNKS_AND_UPGRADE + chunked(GOOD, GOOD[:0] + b" "),
        get("/health", UPGRADE + b"h2c\r\n"),
        get("/health", UPGRADE + b"websocket\r\n"),
        post(GOOD),
        post(GOOD, UPGRADE + b"h2c\r\n"),
    ]
    sent = b"".join(offers)
    with Connection(server.url) as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), step):
            assert connection.send(sent[start : start + step])
        assert [response and response.status for response in (connection.read() for _ in offers)] == [200] * len(offers)
    assert storage.get_head(project_id="p").seq == 4


def test_a_kept_connection_is_announced_and_a_last_one_is_not(server: RestApiServer) -> None:
    assert KEEP_ALIVE_SECONDS > 60
    kept = [get("/health"), post(GOOD), get("/nothing"), get("/api/help", b"If-None-Match: *\r\n")]
    last = [
        get("/health", CLOSE),
        b"GET /health HTTP/1.0\r\n" + HOST + b"\r\n",
        post(b"").replace(b": 0", b": 5000000"),
    ]
    with Connection(server.url) as connection:
        for request in kept:
            connection.send(request)
            response = connection.read()
            assert response is not None
            assert response.headers["keep-alive"] == f"timeout={KEEP_ALIVE_SECONDS}"
            assert "connection" not in response.headers
    for request in last:
        with Connection(server.url) as connection:
            connection.send(request)
            response = connection.read()
            assert response is not None
            assert "keep-alive" not in response.headers
            assert response.headers["connection"] == "close"
            assert connection.is_at_end()


def test_the_time_of_a_kept_connection_is_an_option(storage: LocalStorageService) -> None:
    with (
        RestApiServer(storage=storage, port=0, keep_alive_seconds=1) as server,
        Connection(server.url) as connection,
    ):
        connection.send(get("/health"))
        response = connection.read()
        assert response is not None
        assert response.headers["keep-alive"] == "timeout=1"
        assert connection.is_at_end()  # without the option, this would wait for longer than the test


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no IPv6, or no sockets for both versions")
@pytest.mark.parametrize("host", ["::", "0:0:0:0:0:0:0:0"])
def test_the_address_of_all_serves_both_versions(storage: LocalStorageService, host: str) -> None:
    with RestApiServer(storage=storage, port=0, host=host, open_to_network=True) as server:
        port = server.url.rpartition(":")[2]
        for address in ("127.0.0.1", "[::1]"):
            with Connection(f"http://{address}:{port}") as connection:
                connection.send(get("/health"))
                response = connection.read()
                assert response is not None
                assert response.status == 200
