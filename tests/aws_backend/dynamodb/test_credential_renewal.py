"""Credentials that AWS reports as expired, a clock that is wrong, and a metadata service that is out."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.credential_documents import SourceFailed
from aws_backend.dynamodb.credentials import (
    EXTENSION_JITTER,
    EXTENSION_SECONDS,
    MANDATORY_PAUSE,
    CredentialChain,
    CredentialError,
)
from aws_backend.dynamodb.errors import AccessDenied, CredentialsExpired
from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import HttpResponse
from tests.aws_backend.dynamodb.test_credentials import FOUND, KEY, NOW, Instance, Places, Response, failure, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.aws_backend.dynamodb.test_credentials import SeenRequest


class Source:
    """Returns credentials with another key each time; `problem` ends that."""

    place = "source"

    def __init__(self, lifetime: float = 3600.0, *, outlives: bool = False) -> None:
        self.lifetime = lifetime
        self.loaded = 0
        self.problem = ""
        self.outlives_expiry = outlives
        self.clock = Clock()

    def load(self) -> Credentials:
        self.loaded += 1
        if self.problem:
            raise SourceFailed(self.problem)
        return Credentials(f"AKID{self.loaded}", "secret", "token", self.clock.now + self.lifetime)


class Clock:
    def __init__(self) -> None:
        self.now = NOW


class AWS:
    """A DynamoDB that accepts some keys only, and whose clock may differ."""

    def __init__(self, source: Source, refused: Callable[[str], bool], skew: float = 0.0) -> None:
        self.source = source
        self.refused = refused
        self.skew = skew
        self.keys: list[str] = []

    def send(self, request: bytes, *, deadline: float, repeatable: bool = False) -> HttpResponse:
        text = request.decode()
        key = text.partition("Credential=")[2].partition("/")[0]
        self.keys.append(key)
        if self.refused(key):
            body = {
                "__type": "com.amazon.coral.service#ExpiredTokenException",
                "message": "The security token included in the request is expired",
            }
            return HttpResponse(400, {}, json.dumps(body).encode())
        return HttpResponse(200, {}, b"{}")

    def warm(self, deadline: float) -> None: ...

    def close(self) -> None: ...


def made(
    refused: Callable[[str], bool], source: Source | None = None
) -> tuple[DynamoDBClient, AWS, Source, CredentialChain]:
    source = source or Source()
    aws = AWS(source, refused)
    runtime = Runtime(clock=lambda: int(source.clock.now * 1e9), transport=lambda *_: aws, pause=lambda _: None)
    chain = CredentialChain([source], runtime=runtime)
    return DynamoDBClient("eu-west-1", chain.get, runtime=runtime), aws, source, chain


def put(client: DynamoDBClient) -> dict[str, Any]:
    return client.call("PutItem", {"TableName": "t", "Item": {}})


def test_expired_credentials_are_renewed_and_the_request_is_sent_again() -> None:
    client, aws, source, _ = made(lambda key: key == "AKID1")
    put(client)
    put(client)
    assert aws.keys == ["AKID1", "AKID2", "AKID2"]
    assert source.loaded == 2


def test_they_are_renewed_once_in_a_call() -> None:
    client, aws, source, _ = made(lambda _: True)
    with pytest.raises(CredentialsExpired) as caught:
        put(client)
    assert isinstance(caught.value, AccessDenied)
    assert caught.value.code == "ExpiredTokenException"
    assert aws.keys == ["AKID1", "AKID2"]
    with pytest.raises(CredentialsExpired):
        put(client)
    assert source.loaded == 2, "the source is loaded again after a pause only"
    source.clock.now += MANDATORY_PAUSE
    with pytest.raises(CredentialsExpired):
        put(client)
    assert source.loaded == 3


def test_a_renewal_that_fails_says_why() -> None:
    client, _, source, _ = made(lambda _: True)
    client.warm()
    source.problem = "it is out"
    with pytest.raises(CredentialError, match="source: it is out"):
        put(client)


def test_credentials_without_a_chain_are_not_renewed() -> None:
    _, aws, source, _ = made(lambda _: True)
    fixed = Credentials("AKID1", "secret", "token")
    client = DynamoDBClient("eu-west-1", lambda: fixed, runtime=Runtime(transport=lambda *_: aws))
    with pytest.raises(CredentialsExpired):
        put(client)
    assert aws.keys == ["AKID1"]
    assert source.loaded == 0


def test_threads_with_the_same_expired_credentials_renew_them_once() -> None:
    together = Barrier(8)
    client, _, source, chain = made(lambda _: False)
    expired = chain.get()

    def replace(_: int) -> Credentials:
        together.wait()
        chain.replace_expired(expired)
        return chain.get()

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(replace, range(8)))
    assert [credentials.access_key for credentials in found] == ["AKID2"]
    assert source.loaded == 2
    client.close()


# The clock


@pytest.mark.parametrize("skew", [7200.0, -7200.0])
def test_the_known_difference_of_the_clocks_decides_when_they_have_expired(skew: float) -> None:
    _, _, source, chain = made(lambda _: False, Source(lifetime=3 * 3600.0))
    chain.get()
    source.clock.now += 1.5 * 3600
    chain.get()
    assert source.loaded == 1
    chain.correct_clock(skew)
    source.clock.now += 1.0
    source.lifetime = 100_000.0
    chain.get()
    assert source.loaded == (2 if skew > 0 else 1)
    source.clock.now += 2 * 3600
    chain.get()
    assert source.loaded == 2 - (skew < 0)


def test_the_client_tells_its_chain() -> None:
    source = Source(lifetime=4 * 3600.0)
    aws = AWS(source, lambda _: False)
    runtime = Runtime(clock=lambda: int(source.clock.now * 1e9), transport=lambda *_: aws, pause=lambda _: None)
    chain = CredentialChain([source], runtime=runtime)
    client = DynamoDBClient("eu-west-1", chain.get, runtime=runtime)
    ahead = 3.9 * 3600
    skewed = {"__type": "x#InvalidSignatureException", "message": "Signature expired: 20250301T0930Z is now earlier"}
    responses = [
        HttpResponse(400, {"date": formatdate(NOW + ahead, usegmt=True)}, json.dumps(skewed).encode()),
        HttpResponse(200, {}, b"{}"),
    ]
    send, aws.send = aws.send, lambda request, **_: (send(request, deadline=0.0), responses.pop(0))[1]  # type: ignore[method-assign]
    put(client)
    assert aws.keys == ["AKID1", "AKID2"], "six minutes are left of the first: they are renewed before the next request"


# The metadata service


def instance(response: Callable[[SeenRequest], Response]) -> tuple[Places, Any]:
    places = Places()
    del places.environ["AWS_EC2_METADATA_DISABLED"]
    return places, serving(response)


def test_an_instance_that_returns_expired_credentials_is_believed_for_a_while() -> None:
    service = Instance(Expiration="2025-03-01T09:29:00Z")
    places, serve = instance(service)
    with serve as server:
        places.services["http", "169.254.169.254", 80] = server
        chain = places.chain()
        found = chain.get()
        assert found.access_key == KEY
        assert found.expires is not None
        assert EXTENSION_SECONDS <= found.expires - NOW <= EXTENSION_SECONDS + EXTENSION_JITTER
        service.document["Expiration"] = "2025-03-01T15:30:00Z"
        places.now = NOW + EXTENSION_SECONDS
        assert chain.get() == FOUND


def test_an_outage_of_the_instances_metadata_keeps_the_expired_ones_in_use() -> None:
    service = Instance()
    out = [False]
    places, serve = instance(lambda request: Response(500) if out[0] else service(request))
    with serve as server:
        places.services["http", "169.254.169.254", 80] = server
        chain = places.chain()
        assert chain.get() == FOUND
        out[0] = True
        places.now = NOW + 6 * 3600 + 1
        requests_before = len(server.requests)
        kept = chain.get()
        assert kept == FOUND.replace(expires=kept.expires)
        requests_after = len(server.requests)
        assert requests_after > requests_before
        assert chain.get() == kept
        assert len(server.requests) == requests_after, "it is not sent a request for each call"
        chain_error = failure(lambda: chain.replace_expired(kept))
        assert "status 500" in chain_error.hint
        out[0] = False
        service.document["Expiration"] = "2025-03-02T15:30:00Z"
        places.now += EXTENSION_SECONDS + EXTENSION_JITTER
        assert chain.get() == FOUND.replace(expires=NOW + 30 * 3600)


def test_an_outage_of_another_source_is_an_error() -> None:
    _, _, source, chain = made(lambda _: False)
    chain.get()
    source.problem = "it is out"
    source.clock.now += 3600
    with pytest.raises(CredentialError, match="it is out"):
        chain.get()


def test_the_random_part_spreads_the_renewals_of_many_processes() -> None:
    expiries = set()
    for fraction in (0.0, 0.5, 0.999):
        source = Source(lifetime=-1.0, outlives=True)
        chain = CredentialChain([source], runtime=Runtime(clock=lambda: int(NOW * 1e9), random=lambda f=fraction: f))  # type: ignore[misc]
        expiries.add(chain.get().expires)
    assert len(expiries) == 3
