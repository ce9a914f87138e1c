"""TLS: trusted and untrusted servers, failing handshakes, and responses that end with or without a close_notify."""

from __future__ import annotations

import _socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aws_backend.dynamodb.tls import amazon_tls, tls_with_roots
from sltt_core.http_client.transport import ConnectFailed, HttpTransport, OutcomeUnknown, open_connection, system_tls
from tests.sltt_core.http_client.peers import (
    LARGE,
    LIKE_DYNAMODB,
    TOO_LARGE,
    Line,
    Peer,
    count_calls,
    keep_responding,
    request,
    response,
    soon,
)
from tests.test_layers import FORBIDDEN, SRC

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sltt_core.http_client.sockets import Tls

    MakeContext = Callable[[], Tls]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(ca: trustme.CA) -> ssl.SSLContext:
    """A server's context with a valid certificate."""
    return server_with(ca.issue_cert("127.0.0.1"))


@pytest.fixture(scope="module")
def python_tls(ca: trustme.CA) -> Callable[[], ssl.SSLContext]:
    """A maker of Python's own context that trusts the tests' authority."""

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.configure_trust(context)
        return context

    return make


@pytest.fixture(params=["ssl", "lean"], scope="module")
def own_tls(
    request: pytest.FixtureRequest,
    ca: trustme.CA,
    python_tls: Callable[[], ssl.SSLContext],
    tmp_path_factory: pytest.TempPathFactory,
) -> MakeContext:
    """A maker of a context that trusts the tests' authority: Python's own, and that of the DynamoDB client."""
    if request.param == "ssl":
        return python_tls
    roots = tmp_path_factory.mktemp("roots") / "own.pem"
    ca.cert_pem.write_to_path(str(roots))
    return lambda: tls_with_roots(str(roots))


def server_with(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "self-signed.pem"
    encoding = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(encoding)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


# Trust


def test_the_next_context_is_tried_when_the_first_does_not_know_the_authority(
    server: ssl.SSLContext, own_tls: MakeContext
) -> None:
    made = []

    def counted(make: MakeContext) -> MakeContext:
        def counting() -> Tls:
            made.append(make)
            return make()

        return counting

    with Peer(keep_responding, tls=server) as peer:
        transport = HttpTransport(peer.origin, tls=[counted(amazon_tls), counted(own_tls)])
        for _ in range(5):
            assert transport.send(request(), deadline=soon()).body == b"1"
        assert (peer.connections, len(peer.requests)) == (2, 5)
        transport.close()
        for _ in range(3):  # later connections use the context that was found
            transport.send(request(), deadline=soon())
        assert made == [amazon_tls, own_tls]
    assert len(peer.refusals) == 1


def test_threads_that_look_for_a_context_at_the_same_time_find_the_same(
    server: ssl.SSLContext, own_tls: MakeContext
) -> None:
    with Peer(keep_responding, tls=server) as peer:
        transport = HttpTransport(peer.origin, tls=[amazon_tls, own_tls])
        with ThreadPoolExecutor(8) as threads:
            for response in threads.map(lambda _: transport.send(request(), deadline=soon()), range(16)):
                assert response.status == 200
        transport.close()


def expired(ca: trustme.CA, _folder: Path) -> ssl.SSLContext:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return server_with(ca.issue_cert("127.0.0.1", not_before=yesterday - timedelta(days=1), not_after=yesterday))


@pytest.mark.parametrize(
    ("make_server", "reason"),
    [
        (lambda ca, _: server_with(ca.issue_cert("elsewhere.example")), "IP address mismatch"),
        (expired, "certificate has expired"),
        (lambda _ca, folder: self_signed(folder), "self-signed certificate"),
        (lambda _ca, _: server_with(trustme.CA().issue_cert("127.0.0.1")), "unable to get local issuer"),
    ],
    ids=["wrong name", "expired", "self-signed", "unknown authority"],
)
def test_an_untrusted_server_gets_no_byte_of_the_request(
    ca: trustme.CA, own_tls: MakeContext, tmp_path: Path, make_server: Callable[..., ssl.SSLContext], reason: str
) -> None:
    with Peer(keep_responding, tls=make_server(ca, tmp_path)) as peer:
        for tls, tries in ([own_tls], 1), ([amazon_tls, own_tls], 2):
            before = peer.connections
            with pytest.raises(ConnectFailed, match=rf"127\.0\.0\.1 is not trusted: .*{reason}"):
                HttpTransport(peer.origin, tls=tls).send(request(), deadline=soon(), repeatable=True)
            assert peer.connections == before + tries
        assert peer.requests == []
    assert len(peer.refusals) == 3  # they failed in the handshake, before any byte of the request


def test_a_wrong_name_is_not_tried_with_the_next_context(ca: trustme.CA, own_tls: MakeContext) -> None:
    with Peer(keep_responding, tls=server_with(ca.issue_cert("elsewhere.example"))) as peer:
        with pytest.raises(ConnectFailed, match="mismatch"):
            HttpTransport(peer.origin, tls=[own_tls, system_tls]).warm(soon())
        assert peer.connections == 1


def test_a_host_name_is_verified(ca: trustme.CA, own_tls: MakeContext) -> None:
    def connect(_address: tuple[bytes, int], seconds: float) -> _socket.socket:
        return open_connection((b"127.0.0.1", peer.origin.port), seconds)

    with Peer(keep_responding, tls=server_with(ca.issue_cert("good.example"))) as peer:
        for name in ("good.example", "bad.example"):
            transport = HttpTransport(peer.origin.replace(host=name), tls=[own_tls], connect=connect)
            if name == "good.example":
                assert transport.send(request(), deadline=soon()).status == 200
            else:
                with pytest.raises(ConnectFailed, match=r"Hostname mismatch.*'bad\.example'"):
                    transport.send(request(), deadline=soon())
            transport.close()


def test_a_context_that_does_not_verify_is_refused(
    server: ssl.SSLContext, python_tls: Callable[[], ssl.SSLContext]
) -> None:
    def no_name() -> ssl.SSLContext:
        context = python_tls()
        context.check_hostname = False
        return context

    def nothing() -> ssl.SSLContext:
        context = no_name()
        context.verify_mode = ssl.CERT_NONE
        return context

    with Peer(keep_responding, tls=server) as peer:
        for tls in (no_name, nothing):
            with pytest.raises(ValueError, match="does not verify"):
                HttpTransport(peer.origin, tls=[tls]).warm(soon())
    with pytest.raises(ValueError, match="tls is empty"):
        HttpTransport(peer.origin, tls=[])


def test_the_default_context_verifies_certificate_and_name() -> None:
    context = system_tls()
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


# Other failing handshakes


def test_a_server_without_tls_is_reported(own_tls: MakeContext) -> None:
    def serve(line: Line) -> None:
        line.connection.recv(1)
        line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Peer(serve) as peer, pytest.raises(ConnectFailed, match=r"no TLS with 127\.0\.0\.1"):
        HttpTransport(peer.origin.replace(scheme="https"), tls=[own_tls]).send(request(), deadline=soon())


@pytest.mark.parametrize("how", [Line.close, Line.reset])
@pytest.mark.parametrize("read", [0, 1])
def test_a_connection_closed_during_the_handshake_is_reported(
    own_tls: MakeContext, how: Callable[[Line], None], read: int
) -> None:
    closed = Event()

    def serve(line: Line) -> None:
        if read:
            line.connection.recv(read)
        how(line)
        closed.set()

    def connect(address: tuple[bytes, int], seconds: float) -> _socket.socket:
        connection = open_connection(address, seconds)
        assert read or closed.wait(10)
        return connection

    with Peer(serve) as peer:
        transport = HttpTransport(peer.origin.replace(scheme="https"), tls=[own_tls], connect=connect)
        # A reset may come before the connection is established.
        with pytest.raises(ConnectFailed, match=r"no TLS with 127\.0\.0\.1|cannot reach 127\.0\.0\.1"):
            transport.send(request(), deadline=soon())


@pytest.mark.parametrize(("connect_seconds", "seconds"), [(0.03, 10), (10, 0.03)])
def test_a_handshake_that_stops_times_out(own_tls: MakeContext, connect_seconds: float, seconds: float) -> None:
    with Peer(Line.wait_for_end) as peer:
        transport = HttpTransport(peer.origin.replace(scheme="https"), tls=[own_tls], connect_seconds=connect_seconds)
        before = monotonic()
        with pytest.raises(ConnectFailed, match="timed out"):
            transport.send(request(), deadline=before + seconds)
        assert monotonic() - before < 5


def test_the_tls_handshake_fails_when_tcp_used_all_the_time(server: ssl.SSLContext, own_tls: MakeContext) -> None:
    now = 1000.0

    def connect(address: tuple[bytes, int], seconds: float) -> _socket.socket:
        nonlocal now
        now += seconds
        return open_connection(address, 5)

    with Peer(keep_responding, tls=server) as peer:
        transport = HttpTransport(peer.origin, tls=[own_tls], connect=connect, steady_clock=lambda: now)
        with pytest.raises(ConnectFailed, match="no time left"):
            transport.send(request(), deadline=now + 60)


def test_an_interrupted_handshake_closes_its_connection(
    python_tls: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_connection: ssl.SSLSocket, block: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", interrupt)
    with Peer(Line.wait_for_end) as peer, pytest.raises(KeyboardInterrupt):
        HttpTransport(peer.origin.replace(scheme="https"), tls=[python_tls]).warm(soon())


# Kept connections


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_connection_with_tls_messages_between_responses_is_kept(
    ca: trustme.CA, own_tls: MakeContext, version: ssl.TLSVersion
) -> None:
    context = server_with(ca.issue_cert("127.0.0.1"))
    context.minimum_version = context.maximum_version = version
    if version is ssl.TLSVersion.TLSv1_3:
        context.num_tickets = 20  # all of them come before the first response
    with Peer(keep_responding, tls=context) as peer:
        transport = HttpTransport(peer.origin, tls=[own_tls])
        transport.warm(soon())
        for _ in range(20):
            assert transport.send(request(), deadline=soon()).status == 200
        assert peer.connections == 1
        transport.close()


def end_tls(line: Line) -> None:
    assert isinstance(line.connection, ssl.SSLSocket)
    line.connection.settimeout(0)  # do not wait for the client's close_notify
    try:
        line.connection.unwrap()
    except ssl.SSLWantReadError:
        pass


@pytest.mark.parametrize("how", [end_tls, Line.close, Line.reset])
def test_a_connection_closed_between_requests_is_replaced(
    server: ssl.SSLContext, own_tls: MakeContext, how: Callable[[Line], None]
) -> None:
    closed = Event()

    def serve(line: Line) -> None:
        line.send(response(line.read_request()))
        how(line)
        closed.set()
        if how is end_tls:
            line.stay()  # a close_notify without a FIN

    with Peer(serve, tls=server) as peer:
        transport = HttpTransport(peer.origin, tls=[own_tls])
        for number in range(50):
            sent = request(f"/{number}")
            assert transport.send(sent, deadline=soon()).body == sent
            assert closed.wait(10)
            closed.clear()
        assert peer.requests == [request(f"/{number}") for number in range(50)]
        transport.close()


# Ends


def test_a_response_without_a_length_ends_with_close_notify(server: ssl.SSLContext, own_tls: MakeContext) -> None:
    def serve(line: Line) -> None:
        line.read_request()
        line.send(b"HTTP/1.1 200 OK\r\n\r\na body")
        end_tls(line)

    with Peer(serve, tls=server) as peer:
        assert HttpTransport(peer.origin, tls=[own_tls]).send(request(), deadline=soon()).body == b"a body"


@pytest.mark.parametrize("how", [Line.close, Line.reset])
def test_a_response_without_a_length_and_close_notify_is_an_unknown_outcome(
    server: ssl.SSLContext, own_tls: MakeContext, how: Callable[[Line], None]
) -> None:
    def serve(line: Line) -> None:
        line.read_request()
        line.send(b"HTTP/1.1 200 OK\r\n\r\na bo")
        how(line)

    with Peer(serve, tls=server) as peer, pytest.raises(OutcomeUnknown, match="in the middle of a response"):
        HttpTransport(peer.origin, tls=[own_tls]).send(request(), deadline=soon())


@pytest.mark.parametrize("how", [end_tls, Line.close, Line.reset])
def test_a_response_cut_at_any_byte_is_an_unknown_outcome(
    server: ssl.SSLContext, own_tls: MakeContext, how: Callable[[Line], None]
) -> None:
    good = response(b"ok")

    def serve(line: Line) -> None:
        line.read_request()
        line.send(good[: line.number])
        how(line)

    with Peer(serve, tls=server) as peer:
        transport = HttpTransport(peer.origin, tls=[own_tls])
        for _place in range(len(good)):
            with pytest.raises(OutcomeUnknown):
                transport.send(request(), deadline=soon())
        assert peer.requests == [request()] * len(good)


# Large requests


def test_a_large_request_gets_a_large_response(server: ssl.SSLContext, own_tls: MakeContext) -> None:
    def serve(line: Line) -> None:
        while sent := line.read_request():
            line.send(response(sent))

    with Peer(serve, tls=server, receive_buffer=4096) as peer:
        transport = HttpTransport(peer.origin, tls=[own_tls])
        for _ in range(2):
            assert transport.send(LARGE, deadline=soon()).body == LARGE
        assert peer.connections == 1
        transport.close()


@pytest.mark.parametrize("how", [Line.close, Line.stay])
def test_an_early_error_response_is_read(
    server: ssl.SSLContext, own_tls: MakeContext, how: Callable[[Line], None]
) -> None:
    def serve(line: Line) -> None:
        line.read_head()
        line.send(TOO_LARGE)
        how(line)

    with Peer(serve, tls=server, receive_buffer=4096) as peer:
        response = HttpTransport(peer.origin, tls=[own_tls]).send(LARGE, deadline=soon())
        assert (response.status, response.body) == (413, b"too large")


# Cost


def test_a_request_takes_few_calls(server: ssl.SSLContext, own_tls: MakeContext) -> None:
    with Peer(lambda line: line.respond_all(LIKE_DYNAMODB), tls=server) as peer:
        transport = HttpTransport(peer.origin, tls=[own_tls])
        counts = count_calls(transport)
        transport.close()
    assert counts["call"] <= 30, counts
    assert counts["c_call"] <= 80, counts


def test_a_request_imports_no_module(ca: trustme.CA, server: ssl.SSLContext, tmp_path: Path) -> None:
    """Above all not the codec for internationalized names and the modules that it imports."""
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Peer(keep_responding, tls=server) as peer:
        program = f"""
import sys
sys.path.insert(0, {str(SRC)!r})
from time import monotonic
from aws_backend.dynamodb.tls import tls_with_roots
from sltt_core.http_client.transport import HttpTransport, parse_origin

def own_tls():
    return tls_with_roots({str(tmp_path / "ca.pem")!r})

transport = HttpTransport(parse_origin("https://127.0.0.1:{peer.origin.port}"), tls=[own_tls])
before = set(sys.modules)
print(*sorted(before))
assert transport.send({request()!r}, deadline=monotonic() + 10).status == 200
print(*sorted(set(sys.modules) - before))
transport.close()
"""
        run = subprocess.run(
            [sys.executable, "-I", "-S", "-B", "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
    assert run.returncode == 0, run.stderr
    imported, loaded = run.stdout.splitlines()
    assert not FORBIDDEN.intersection(imported.split())
    assert loaded == ""
