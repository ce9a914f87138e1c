"""`Remote` against real sockets: which responses are of this API, and what becomes of a request without one."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core import ApiProblem, Cancelled, Client, ForeignResponse, LocalStorageService, RestApiServer
from sltt_core.base.errors import InvalidInput
from sltt_core.model.changes import NewChange
from sltt_core.sync.errors import ServerUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APPENDED = {"success": True, "created": 1, "createdSeqs": [1], "seqMap": {"1": 1}, "replayed": False}
GOOD = {**APPENDED, "timestamp": "2026-01-01T00:00:00.000Z"}
PROBLEM = {
    "type": "urn:sltt:problem:not-allowed",
    "title": "Not allowed",
    "status": 403,
    "detail": "no",
    "error": "no",
    "timestamp": "2026-01-01T00:00:00.000Z",
    "server": "sltt",
    "requestId": "r",
}
JSON, PROBLEM_JSON = "application/json", "application/problem+json"


def response(status: int, kind: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def document(status: int, kind: str, found: object, *headers: str) -> bytes:
    return response(status, kind, json.dumps(found).encode(), *headers)


def read_request(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65_536)
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@contextmanager
def peer(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server on a real port, whose `serve` gets each connection in turn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()

        def run() -> None:
            while not stopped.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        serve(connection)
                    except OSError:
                        pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def answering(reply: bytes) -> Any:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply)

    return peer(serve)


CHANGE = {"projectId": "p", "entityType": "t", "entityId": "e", "data": {}}

FOREIGN = {
    "html of a proxy": response(502, "text/html", b"<html>bad gateway</html>"),
    "captive portal": response(200, "text/html", b"<html>log in</html>"),
    "captive portal that calls it JSON": response(200, JSON, b"<html>log in</html>"),
    "json of another": document(200, JSON, {"ok": True}),
    "gateway 403": document(403, JSON, {"message": "Forbidden"}),
    "problem of another": document(403, PROBLEM_JSON, {**PROBLEM, "type": "https://example.org/forbidden"}),
    "problem without a prefix": document(403, PROBLEM_JSON, {**PROBLEM, "type": "not-allowed"}),
    "unknown type": document(403, PROBLEM_JSON, {**PROBLEM, "type": "urn:sltt:problem:client-error"}),
    "another status in it": document(400, PROBLEM_JSON, PROBLEM),
    "problem as plain JSON": document(403, JSON, PROBLEM),
    "problem that is a 200": document(200, PROBLEM_JSON, {**PROBLEM, "status": 200}),
    "member missing": document(200, JSON, {name: GOOD[name] for name in GOOD if name != "createdSeqs"}),
    "member of another type": document(200, JSON, {**GOOD, "createdSeqs": ["1"]}),
    "true for a number": document(200, JSON, {**GOOD, "createdSeqs": [True]}),
    "not a success": document(200, JSON, {**GOOD, "success": False}),
    "another status": document(201, JSON, GOOD),
    "array": document(200, JSON, [GOOD]),
    "NaN": response(200, JSON, json.dumps(GOOD)[:-1].encode() + b',"x":NaN}'),
    "half a surrogate pair": response(200, JSON, json.dumps({**GOOD, "x": "\ud800"}).encode()),
    "not gzip": document(200, JSON, GOOD, "Content-Encoding: gzip"),
    "unknown coding": document(200, JSON, GOOD, "Content-Encoding: br"),
    "gzip bomb": response(200, JSON, gzip.compress(b" " * 30_000_000), "Content-Encoding: gzip"),
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "redirect": response(302, "text/html", b"", "Location: https://login.example/"),
}


@pytest.mark.parametrize("reply", FOREIGN.values(), ids=FOREIGN)
def test_a_response_that_is_not_of_this_api_says_nothing_about_the_append(reply: bytes) -> None:
    with answering(reply) as url, Client(url) as client, pytest.raises(ForeignResponse):
        client.append([CHANGE])


def test_a_redirect_names_its_target_and_is_not_followed() -> None:
    with answering(FOREIGN["redirect"]) as url, Client(url) as client:
        assert client.request("GET", "/health").ours is False
        with pytest.raises(ForeignResponse) as caught:
            client.health()
    assert (caught.value.status, caught.value.location) == (302, "https://login.example/")


def test_a_problem_of_this_api_has_its_members() -> None:
    reply = document(403, PROBLEM_JSON, {**PROBLEM, "hint": "h", "retryable": True}, "Retry-After: 7")
    with answering(reply) as url, Client(url) as client:
        assert client.request("POST", "/api/changes", body=b"[]").ours is True
        with pytest.raises(ApiProblem) as caught:
            client.append([CHANGE])
    problem = caught.value
    assert (problem.status, problem.type, problem.title, problem.detail) == (403, "not-allowed", "Not allowed", "no")
    assert (problem.retry_after, problem.retryable, problem.hint, problem.extensions["server"]) == (
        7,
        True,
        "h",
        "sltt",
    )


def test_a_success_may_have_more_members_than_are_known() -> None:
    with answering(document(200, JSON, {**GOOD, "new": 1})) as url, Client(url) as client:
        assert client.append([CHANGE]).seqs == (1,)


def test_no_connection_means_that_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Client(url) as client, pytest.raises(ServerUnreachable) as caught:
        client.append([CHANGE])
    assert caught.value.sent is False


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"])
def test_a_connection_that_is_cut_leaves_the_outcome_unknown(reply: bytes) -> None:
    with answering(reply) as url, Client(url) as client, pytest.raises(ServerUnreachable) as caught:
        client.append([CHANGE])
    assert caught.value.sent is True


def test_bodies_are_compressed_unless_the_server_refuses_that() -> None:
    heads: list[bytes] = []
    refusal = {**PROBLEM, "type": "urn:sltt:problem:unsupported-media-type", "status": 415}

    def serve(connection: socket.socket) -> None:
        head, _, body = read_request(connection).partition(b"\r\n\r\n")
        heads.append(head)
        zipped = b"content-encoding: gzip" in head
        assert (gzip.decompress(body) if zipped else body) == sent
        connection.sendall(document(415, PROBLEM_JSON, refusal) if zipped else document(200, JSON, GOOD))

    sent = json.dumps([{**CHANGE, "data": {"text": "x" * 2_000}}]).encode()
    with peer(serve) as url, Client(url) as client:
        client.append_body(sent, key="k" * 16)
        client.append_body(sent, key="k" * 16)
    assert [b"content-encoding: gzip" in head for head in heads] == [True, False, False]
    assert all(b"idempotency-key: kkkkkkkkkkkkkkkk" in head for head in heads)


@pytest.mark.parametrize("phase", ["before", "response", "body", "trickle", "request"])
def test_a_request_is_cancelled_wherever_it_waits(phase: str) -> None:
    cancel, reached, end = threading.Event(), threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        if phase == "request":  # nothing is read, so that the request does not fit
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        else:
            read_request(connection)
            if phase == "body":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
            if phase == "trickle":  # no wait is ever as long as a slice, and the response has an end
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n")
        reached.set()
        while not end.wait(0.01 if phase == "trickle" else 30):
            connection.sendall(b" ")

    def watch() -> None:
        reached.wait(30)
        cancel.set()

    if phase == "before":
        cancel.set()
    body = b"x" * (30_000_000 if phase == "request" else 10)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    with peer(serve) as url, Client(url, cancelled=cancel.is_set) as client:
        with pytest.raises(Cancelled) as caught:
            client.request("POST", "/api/changes", headers={"content-encoding": "identity"}, body=body)
        end.set()
    reached.set()
    assert caught.value.sent is (phase != "before")


def test_an_attempt_to_connect_is_cancelled() -> None:
    """A peer that accepts nothing: its queue of connections is full."""
    cancel, asked = threading.Event(), threading.Event()

    def cancelled() -> bool:
        if asked.is_set():
            cancel.set()
        asked.set()
        return cancel.is_set()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        url = f"http://127.0.0.1:{address[1]}"
        with Client(url, cancelled=cancelled) as client, pytest.raises(Cancelled) as caught:
            client.health()
        for filler in fillers:
            filler.close()
    assert caught.value.sent is False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    running = RestApiServer(storage=LocalStorageService(tmp_path / "log.db"))
    running.start(port=0)
    yield running.url
    running.stop()


def test_pages_and_batches_of_a_server_are_exact_and_progress_is_reported(server: str) -> None:
    sent: list[tuple[int, int]] = []
    with Client(server, user="Noémie", progress=lambda out, into: sent.append((out, into))) as client:
        texts = ['{"n":1.10,"big":123456789012345678901234567890}', '{ "a" : "' + "é" * 2_000 + '" }']
        changes = [NewChange(project_id="p", entity_type="t", entity_id="e", data=text) for text in texts]
        assert client.append(changes).seqs == (1, 2)
        for as_text in (True, False):
            page = client.changes_after("p", data_text=as_text)
            assert [change.data_json for change in page.changes] == texts
            assert [change.change_by for change in page.changes] == ["Noémie"] * 2
            assert (page.through, page.cursor, page.max_wait) == (2, None, 60)
        assert client.change("p", 1) == page.changes[0]
        assert client.stats("p").head == client.heads({"p": (0, None)}).heads["p"]
        assert client.heads({"p": (2, page.chain), "q": (0, None)}).heads == {}
        with pytest.raises(ApiProblem) as caught:
            client.append(changes, if_head=1)
        assert (caught.value.type, caught.value.extensions["seq"]) == ("head-moved", 2)
    assert sum(out for out, _ in sent) > 0
    assert sum(into for _, into in sent) > 0


def test_a_kept_connection_waits_as_long_as_the_request_asks(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the connection would count as dead, and the request would be sent twice."""
    monkeypatch.setattr("sltt_core.sync.remote.KEPT_SECONDS", 0.05)
    sent: list[int] = []
    with Client(server, progress=lambda out, into: sent.append(out)) as client:
        client.health()
        page = client.changes_after("p", wait=0.5)
    assert page.changes == ()
    assert page.waited > 0
    assert len(list(filter(None, sent))) == 2


@pytest.mark.parametrize(
    "server_url", ["", "example.org", "ftp://example.org", "https://", "https://a b", "https://a/?x=1", "http://a#b"]
)
def test_a_bad_url_is_refused(server_url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Client(server_url)
    assert caught.value.field == "server"


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.changes_after("\ud800"),
        lambda client: client.stats("../x"),
        lambda client: client.heads({"": (0, None)}),
        lambda client: client.set_role("p", "a\nb", "viewer"),
        lambda client: client.request("GET", "/a b"),
        lambda client: client.request("GET /", "/a"),
        lambda client: client.append([CHANGE], key="a\r\nb"),
        lambda client: client.append([{**CHANGE, "data": {"a": float("nan")}}]),
        lambda client: client.append([{**CHANGE, "data": {"a": object()}}]),
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is(call: Callable[[Client], object]) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(InvalidInput):
        call(client)


@pytest.mark.parametrize("options", [{"token": "a\r\nb"}, {"headers": {"x-a": "1\n"}}, {"headers": {"a: b": "1"}}])
def test_a_header_with_a_line_end_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Client("http://127.0.0.1", **options)


def test_a_request_goes_through_the_proxy_of_the_environment() -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 407 No\r\n\r\n")

    with peer(serve) as proxy:
        client = Client("http://sync.example", environ={"http_proxy": proxy})
        with client, pytest.raises(ServerUnreachable, match="status 407") as caught:
            client.health()
    assert caught.value.sent is False
    assert asked[0].startswith(b"CONNECT sync.example:80 HTTP/1.1\r\n")
