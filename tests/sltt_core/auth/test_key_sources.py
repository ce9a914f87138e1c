"""The keys of an issuer at a URL: a real server, and a clock that the tests set."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Any

import pytest

from sltt_core.auth.jwks import MAX_SET_BYTES
from sltt_core.auth.key_sources import (
    FETCH_SECONDS,
    MAX_AGE_SECONDS,
    RETRY_SECONDS,
    UNKNOWN_SECONDS,
    RemoteKeys,
    is_loopback,
    parse_key_url,
)
from sltt_core.base.errors import IssuerUnavailable
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import OutcomeUnknown
from tests.sltt_core.auth.issuers import Issuer, running_issuer
from tests.sltt_core.auth.samples import OTHER_RSA, ec_jwk, key_set, rsa_jwk, secret_jwk

OLD = key_set(rsa_jwk())
NEW = key_set(rsa_jwk(OTHER_RSA, kid="new"))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer(OLD) as running:
        yield running


def remote(issuer: Issuer, clock: Clock, **options: Any) -> RemoteKeys:
    return RemoteKeys(issuer.url, runtime=Runtime(steady_clock=clock, **options))


def knows(keys: RemoteKeys, key_id: str) -> bool:
    return keys.find(key_id, "RS256") is not None


def test_the_keys_are_asked_for_once_and_late(issuer: Issuer, clock: Clock) -> None:
    keys = remote(issuer, clock)
    assert issuer.requests == []
    assert knows(keys, "rsa")
    assert knows(keys, "rsa")
    assert issuer.requests == ["GET /keys?v=1"]


def test_an_unknown_kid_makes_the_server_ask_again_at_most_every_five_minutes(issuer: Issuer, clock: Clock) -> None:
    keys = remote(issuer, clock)
    assert knows(keys, "rsa")
    issuer.body = NEW
    for _ in range(10):
        clock.now += (UNKNOWN_SECONDS - 1) / 10
        assert not knows(keys, "new")
    assert len(issuer.requests) == 1
    clock.now += 1
    assert knows(keys, "new")
    assert not knows(keys, "rsa")
    assert not knows(keys, "unknown")
    assert len(issuer.requests) == 2
    clock.now += UNKNOWN_SECONDS
    assert not knows(keys, "unknown")
    assert len(issuer.requests) == 3


def test_a_key_that_the_issuer_withdrew_is_not_used_for_longer_than_an_hour(issuer: Issuer, clock: Clock) -> None:
    keys = remote(issuer, clock)
    assert knows(keys, "rsa")
    issuer.body = NEW
    clock.now += MAX_AGE_SECONDS - 1
    assert knows(keys, "rsa")
    clock.now += 1
    assert not knows(keys, "rsa")


BAD: dict[str, dict[str, Any]] = {
    "an error": {"status": 500},
    "not found": {"status": 404},
    "a redirect": {"status": 302, "headers": {"location": "http://127.0.0.1:1/keys"}},
    "a permanent redirect to another host": {"status": 308, "headers": {"location": "https://evil.example.org/keys"}},
    "no content": {"status": 204, "body": ""},
    "not JSON": {"body": "<html>"},
    "an empty set": {"body": '{"keys":[]}'},
    "no usable key": {"body": key_set(rsa_jwk(use="enc"), secret_jwk())},
    "a private key": {"body": key_set(rsa_jwk(d="AQAB"))},
    "too large": {"body": OLD + " " * MAX_SET_BYTES},
    "compressed": {"body": "\x1f", "headers": {"content-encoding": "gzip"}},
    "a wrong length": {"headers": {"content-length": "x"}},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_response_locks_nobody_out_whom_the_known_keys_serve(name: str, issuer: Issuer, clock: Clock) -> None:
    keys = remote(issuer, clock)
    assert knows(keys, "rsa")
    for attribute, value in BAD[name].items():
        setattr(issuer, attribute, value)
    clock.now += MAX_AGE_SECONDS
    assert knows(keys, "rsa")
    assert len(issuer.requests) == 2
    with pytest.raises(IssuerUnavailable) as caught:
        keys.find("new", "RS256")
    assert caught.value.retryable
    assert len(issuer.requests) == 2
    # It recovers.
    issuer.status, issuer.body, issuer.headers = 200, NEW, {}
    clock.now += UNKNOWN_SECONDS
    assert knows(keys, "new")


@pytest.mark.parametrize("name", BAD)
def test_without_any_key_a_bad_response_is_an_error_that_can_be_retried(
    name: str, issuer: Issuer, clock: Clock
) -> None:
    for attribute, value in BAD[name].items():
        setattr(issuer, attribute, value)
    keys = remote(issuer, clock)
    for _ in range(3):
        with pytest.raises(IssuerUnavailable, match="the issuer"):
            keys.find("rsa", "RS256")
    assert len(issuer.requests) == 1
    issuer.status, issuer.body, issuer.headers = 200, OLD, {}
    clock.now += RETRY_SECONDS
    assert knows(keys, "rsa")


def test_a_large_response_is_not_read(issuer: Issuer, clock: Clock) -> None:
    issuer.body = OLD + " " * MAX_SET_BYTES
    with pytest.raises(IssuerUnavailable, match="BadResponse"):  # of the transport, which reads no more
        remote(issuer, clock).find("rsa", "RS256")


def test_a_dead_issuer_is_no_reason_to_refuse_known_keys(clock: Clock) -> None:
    with running_issuer(OLD) as issuer:
        keys = remote(issuer, clock)
        assert knows(keys, "rsa")
    for _ in range(5):
        clock.now += MAX_AGE_SECONDS
        assert knows(keys, "rsa")


def test_no_response_is_an_error_that_names_no_address(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    keys = RemoteKeys(f"http://127.0.0.1:{port}/secret", runtime=Runtime(steady_clock=clock))
    with pytest.raises(IssuerUnavailable) as caught:
        keys.find("rsa", "RS256")
    assert "secret" not in str(caught.value)


def test_a_response_is_waited_for_within_bounds(clock: Clock) -> None:
    """The time limit is passed on; `tests/sltt_core/http_client` shows that the transport keeps it."""
    asked: list[tuple[float, float]] = []

    class Silent:
        def __init__(self, origin: object, seconds: float) -> None:
            self.seconds = seconds

        def send(self, request: bytes, *, deadline: float, repeatable: bool) -> object:
            asked.append((self.seconds, deadline))
            raise OutcomeUnknown("no response in time")

        def close(self) -> None:
            asked.append((0, 0))

    clock.now = 100.0
    keys = RemoteKeys("https://id.example.org/", runtime=Runtime(steady_clock=clock, transport=Silent))
    with pytest.raises(IssuerUnavailable):
        keys.find("rsa", "RS256")
    assert asked == [(FETCH_SECONDS, 100.0 + FETCH_SECONDS), (0, 0)]


def test_only_one_thread_asks_and_the_others_do_not_wait(issuer: Issuer, clock: Clock) -> None:
    keys = remote(issuer, clock)
    assert knows(keys, "rsa")
    asked, answer = Event(), Event()

    def hold() -> None:
        asked.set()
        assert answer.wait(30)

    issuer.before, issuer.body = hold, key_set(rsa_jwk(), ec_jwk())
    clock.now += MAX_AGE_SECONDS
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(keys.find, "ec", "ES256")
        try:
            assert asked.wait(30)
            assert knows(keys, "rsa")
            with pytest.raises(IssuerUnavailable, match="another request"):
                keys.find("ec", "ES256")
        finally:
            answer.set()
        assert other.result(30) is not None
    assert len(issuer.requests) == 2


def test_threads_that_start_together_ask_once(issuer: Issuer, clock: Clock) -> None:
    keys = remote(issuer, clock, new_lock=Lock)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: knows(keys, "rsa"), range(8)))
    assert len(issuer.requests) == 1


def test_a_secret_of_the_url_is_not_accepted(issuer: Issuer, clock: Clock) -> None:
    issuer.body = key_set(rsa_jwk(), secret_jwk())
    assert remote(issuer, clock).find("hs", "HS256") is None


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://id.example.org/jwks.json", "id.example.org", 443, "/jwks.json"),
        ("https://id.example.org", "id.example.org", 443, "/"),
        ("HTTPS://ID.example.org:8443/a/b?c=d&e", "id.example.org", 8443, "/a/b?c=d&e"),
        ("http://localhost:9000/keys", "localhost", 9000, "/keys"),
        ("http://127.0.0.1/keys", "127.0.0.1", 80, "/keys"),
        ("http://[::1]:9000/keys", "::1", 9000, "/keys"),
    ],
)
def test_a_url_is_https_or_of_this_machine(url: str, host: str, port: int, target: str) -> None:
    origin, found = parse_key_url(url)
    assert (origin.host, origin.port, found) == (host, port, target)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "id.example.org",
        "ftp://id.example.org/",
        "file:///etc/passwd",
        "http://id.example.org/keys",
        "http://127.0.0.1.example.org/keys",
        "http://127.evil/keys",
        "http://localhost.example.org/keys",
        "http://10.0.0.1/keys",
        "https:///keys",
        "https://user:secret@id.example.org/keys",
        "https://id.example.org/a b",
        "https://id.example.org/\r\nHost: evil",
        "https://id.example.org/\x00",
        "https://id.example.org/é",
        "https://id.example.org/#fragment",
        "https://id.example.org:99999/",
        "https://id.example.org?x",
        '[{"k":"secret","x5u":"https://secret"}]',
    ],
)
def test_another_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not a URL such as|does not begin with https") as caught:
        parse_key_url(url)
    assert "secret" not in str(caught.value)


def test_loopback_names() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("", "localhost.", "127.x", "::", "::2", "0.0.0.0", "example.org")))
