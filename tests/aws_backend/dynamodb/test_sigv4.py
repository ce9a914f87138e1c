"""Signature Version 4: equal to AWS's test cases and to botocore."""

from __future__ import annotations

import hmac
import json
import pickle
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import unquote

import botocore.auth  # type: ignore[import-untyped]
import pytest
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials as BotocoreCredentials  # type: ignore[import-untyped]

from aws_backend.dynamodb import sigv4
from aws_backend.dynamodb.sigv4 import (
    NEVER_SIGNED,
    Credentials,
    RequestSigner,
    canonical_request,
    encode_query,
    format_stamp,
    sign,
    signing_key,
    string_to_sign,
)

SUITE = Path(__file__).parent / "aws4_testsuite"
CASES = sorted(path.parent.relative_to(SUITE).as_posix() for path in SUITE.rglob("*.req"))
SRC = Path(sigv4.__file__).parents[2]

# The same for all of AWS's cases.
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION, SERVICE = "us-east-1", "service"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()

CREDENTIALS = Credentials("AKIASENTINELKEY00042", "SENTINEL-SECRET/+", "SENTINEL-TOKEN==")


class Case(NamedTuple):
    """One of AWS's test cases."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    body: bytes
    credentials: Credentials
    files: dict[str, str]


def read_case(name: str) -> Case:
    folder = SUITE / name
    files = {path.suffix: path.read_text(encoding="utf-8") for path in folder.glob(f"{folder.name}.*")}
    assert sorted(files) == [".authz", ".creq", ".req", ".sreq", ".sts"]
    head, _, body = files[".req"].partition("\n\n")
    first, *lines = re.sub(r"\n(?=[ \t])", "", head).splitlines()  # unfolded
    match = re.fullmatch(r"(\S+) (.*) HTTP/1\.1", first)
    assert match
    path, _, query = match[2].partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    token = re.search("^x-amz-security-token:(.*)$", files[".creq"], re.MULTILINE)
    return Case(
        method=match[1],
        path=path,
        query=[(unquote(name), unquote(value)) for name, _, value in pairs],
        headers=[(name, value) for name, _, value in (line.partition(":") for line in lines)],
        body=body.encode(),
        credentials=Credentials(KEY, SECRET, token[1] if token else None),
        files=files,
    )


def test_all_cases_of_aws_are_present() -> None:
    assert len(CASES) == 34
    assert len(set(CASES)) == 34


@pytest.mark.parametrize("name", CASES)
def test_the_cases_of_aws_are_signed_alike(name: str) -> None:
    case = read_case(name)
    headers = dict(case.headers)

    added = sign(
        case.method,
        headers["Host"],
        case.path,
        case.query,
        case.headers,
        case.body,
        case.credentials,
        REGION,
        SERVICE,
        NOW,
    )

    assert added["authorization"] == case.files[".authz"]
    assert added["x-amz-date"] == headers["X-Amz-Date"]
    assert added["host"] == headers["Host"]
    assert added.get("x-amz-security-token") == case.credentials.token


@pytest.mark.parametrize("name", CASES)
def test_the_intermediate_steps_equal_those_of_aws(name: str) -> None:
    case = read_case(name)
    body_hash = case.files[".creq"].rpartition("\n")[2]
    headers = case.headers
    if case.credentials.token and "x-amz-security-token" not in {name.lower() for name, _ in headers}:
        headers = [*headers, ("X-Amz-Security-Token", case.credentials.token)]

    canonical, signed = canonical_request(case.method, case.path, case.query, headers, body_hash)

    assert canonical == case.files[".creq"]
    assert f"SignedHeaders={signed}," in case.files[".authz"]
    assert string_to_sign("20150830T123600Z", REGION, SERVICE, canonical) == case.files[".sts"]


def test_one_file_of_aws_contradicts_the_others() -> None:
    wrong = [name for name in CASES if read_case(name).files[".authz"] not in read_case(name).files[".sreq"]]
    assert wrong == ["get-vanilla-with-session-token"]


# Equal to botocore.


@pytest.fixture
def botocore_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets botocore's clock."""
    now = [0.0]
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: datetime.fromtimestamp(now[0], UTC))

    def set_clock(seconds: float) -> None:
        now[0] = seconds

    return set_clock


def sign_with_botocore(
    method: str,
    url: str,
    query: list[tuple[str, str]] | None,
    headers: list[tuple[str, str]],
    body: bytes,
    credentials: Credentials,
    region: str,
    service: str,
) -> dict[str, str]:
    request = AWSRequest(method=method, url=url, params=query, data=body)
    for name, value in headers:
        request.headers[name] = value
    access_key, secret_key, token, _ = credentials.as_tuple()
    botocore.auth.SigV4Auth(BotocoreCredentials(access_key, secret_key, token), service, region).add_auth(request)
    names = ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")
    return {name.lower(): request.headers[name] for name in names if name in request.headers}


PATH_PIECES = ["/", "//", "/.", "/..", "/./", "a", "B", "~", "-", "_", ".", "%", "%2F", "%e1", "+", " ", "$", "&", "=",
               ":", "@", ",", ";", "!", "*", "'", "(", "é", "ሴ", "😀", "\u00a0", "\\", '"', "|"]  # fmt: skip
QUERY_PIECES = [*PATH_PIECES, "?", "#", "\t", "\n", "\x00", "A", "Z", "0", "9"]
HEADER_NAMES = ["X-Thing", "x-thing", "X-Other", "Content-Type", "Accept", "X-Amz-Target", "x-amz-meta-é", "X_Y",
                *(name.title() for name in sorted(NEVER_SIGNED))]  # fmt: skip
HEADER_PIECES = ["a", "B", " ", "  ", "\t", ",", '"', "é", "ሴ", "=", "0", ":", ";"]
HOSTS = ["dynamodb.eu-west-1.amazonaws.com", "localhost:8000", "127.0.0.1:80", "[::1]:8000", "[fd00::1]", "h:8443"]
TOKENS = [None, None, "t", "FwoGZXIvYXdzE//+==" * 30]
REGIONS = ["eu-west-1", "us-gov-east-1", "cn-north-1", "ap-southeast-2"]


def text(random: Random, pieces: list[str], most: int) -> str:
    return "".join(random.choices(pieces, k=random.randint(0, most)))


def moment(random: Random) -> float:
    """A time, often within seconds of midnight; 1970 to 2100."""
    day = random.randrange(47_000) * 86_400.0
    return day + random.choice([0.0, 0.5, 1.0, 86_398.0, 86_399.0, 86_399.999, random.random() * 86_400])


def some_credentials(random: Random) -> Credentials:
    characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return Credentials(
        "AKIA" + "".join(random.choices(characters, k=16)),
        "".join(random.choices(characters + "/+abcdef", k=40)),
        random.choice(TOKENS),
    )


def test_ten_thousand_signatures_equal_those_of_botocore(botocore_at: Any) -> None:
    random = Random(20150830)
    for number in range(10_000):
        method = random.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "post"])
        scheme, host = random.choice(["https", "http"]), random.choice(HOSTS)
        path = "/" + text(random, PATH_PIECES, 12) if random.random() < 0.95 else ""
        query = [(text(random, QUERY_PIECES, 3), text(random, QUERY_PIECES, 3)) for _ in range(random.randrange(6))]
        query += random.choices(query, k=random.randrange(3)) if query else []
        headers = [(random.choice(HEADER_NAMES), text(random, HEADER_PIECES, 8)) for _ in range(random.randrange(6))]
        if random.random() < 0.1:  # from an earlier attempt
            headers += [("authorization", "old"), ("x-amz-date", "20000101T000000Z")]
        body = random.randbytes(random.randrange(60))
        credentials, region = some_credentials(random), random.choice(REGIONS)
        service = random.choice(["dynamodb", "execute-api", "sts"])
        now = moment(random)
        botocore_at(now)
        if number % 2:  # the query in the URL, or as parameters
            url = f"{scheme}://{host}{path}" + (f"?{encode_query(query)}" if query else "")
            expected = sign_with_botocore(method, url, None, headers, body, credentials, region, service)
        else:
            url = f"{scheme}://{host}{path}"
            expected = sign_with_botocore(method, url, query, headers, body, credentials, region, service)
        authority = host.removesuffix(":80") if scheme == "http" else host

        added = sign(method, authority, path, query, headers, body, credentials, region, service, now)

        assert added == {"host": authority, **expected}, (number, method, url, query, headers, now)


# DynamoDB's requests.


def lines_of(headers: bytes) -> list[tuple[str, str]]:
    assert headers.startswith(b"POST / HTTP/1.1\r\n")
    assert headers.endswith(b"\r\n\r\n")
    lines = headers.decode("ascii").split("\r\n")[1:-2]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


@pytest.mark.parametrize("token", [None, "FwoGZX//+=="])
def test_the_headers_of_a_request(token: str | None) -> None:
    signer = RequestSigner("eu-west-1", "dynamodb", "localhost:8000")
    headers = signer.write_headers(Credentials(KEY, SECRET, token), "DynamoDB_20120810.PutItem", b"{}", NOW)
    fields = lines_of(headers)
    assert [name for name, _ in fields] == [
        "content-type",
        "host",
        "x-amz-date",
        *(["x-amz-security-token"] if token else []),
        "x-amz-target",
        "authorization",
        "content-length",
    ]
    values = dict(fields)
    signature = re.search("Signature=([0-9a-f]{64})$", values.pop("authorization"))
    assert signature
    assert values == {
        "content-type": "application/x-amz-json-1.0",
        "host": "localhost:8000",
        "x-amz-date": "20150830T123600Z",
        **({"x-amz-security-token": token} if token else {}),
        "x-amz-target": "DynamoDB_20120810.PutItem",
        "content-length": "2",
    }


def test_the_request_signer_equals_sign_and_botocore(botocore_at: Any) -> None:
    random = Random(7)
    signers = {(region, host): RequestSigner(region, "dynamodb", host) for region in REGIONS for host in HOSTS}
    known = [some_credentials(random) for _ in range(5)]
    now = moment(random)
    for _ in range(2_000):
        region, host = random.choice(list(signers))
        if random.random() < 0.5:
            now = random.choice([now + 0.3, moment(random)])
        credentials = random.choice(known)
        target = "DynamoDB_20120810." + random.choice(["PutItem", "Query", "TransactWriteItems", "GetItem"])
        body = random.randbytes(random.randrange(200))

        fields = dict(lines_of(signers[region, host].write_headers(credentials, target, body, now)))

        assert fields.pop("content-length") == str(len(body))
        headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target)]
        general = sign("POST", host, "/", [], headers, body, credentials, region, "dynamodb", now)
        assert fields == {**dict(headers), **general}
        botocore_at(now)
        expected = sign_with_botocore("POST", f"https://{host}/", None, headers, body, credentials, region, "dynamodb")
        assert expected.items() <= fields.items()


class Count:
    """Counts the calls of the HMAC."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self._real = hmac.digest
        monkeypatch.setattr(sigv4, "hmac_digest", self)

    def __call__(self, key: bytes, message: bytes, digest: str) -> bytes:
        self.calls += 1
        return self._real(key, message, digest)


def test_the_key_of_a_day_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    count = Count(monkeypatch)
    signer = RequestSigner("eu-west-1", "dynamodb", "h")
    midnight = 86_400.0 * 20_000

    def write(credentials: Credentials, now: float) -> None:
        signer.write_headers(credentials, "T.Op", b"{}", now)

    for second in range(100):
        write(CREDENTIALS, midnight + second)
    assert count.calls == 4 + 100
    write(CREDENTIALS.replace(expires=1.0), midnight + 86_399)  # the same key, as if it was loaded again
    assert count.calls == 4 + 101
    write(CREDENTIALS, midnight + 86_400)
    assert count.calls == 2 * 4 + 102
    other = CREDENTIALS.replace(secret_key="other")
    for _ in range(10):  # two threads, before and after a renewal
        write(other, midnight + 86_400)
        write(CREDENTIALS, midnight + 86_400)
    assert count.calls == 3 * 4 + 122


def test_the_signer_keeps_few_keys() -> None:
    signer = RequestSigner("eu-west-1", "dynamodb", "h")
    kept = []
    for day in range(1000):
        signer.write_headers(CREDENTIALS, "T.Op", b"{}", day * 86_400.0)
        kept.append(len(signer._keys))
    assert max(kept) == 8


def test_threads_can_share_a_signer() -> None:
    signer = RequestSigner("eu-west-1", "dynamodb", "h")
    wrong: list[object] = []

    def work(number: int) -> None:
        random = Random(number)
        for _ in range(300):
            credentials = random.choice([CREDENTIALS, CREDENTIALS.replace(secret_key="b", token=None)])
            now = 86_400.0 * 20_000 + random.choice([-1, 0, 1])
            fields = dict(lines_of(signer.write_headers(credentials, "T.Op", b"{}", now)))
            headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "T.Op")]
            general = sign("POST", "h", "/", [], headers, b"{}", credentials, "eu-west-1", "dynamodb", now)
            if fields["authorization"] != general["authorization"]:
                wrong.append((credentials, now))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def calls_of(signer: RequestSigner, credentials: Credentials, now: float) -> tuple[int, int]:
    """Return how many Python and C functions the signing of one request calls."""
    counted = {"call": 0, "c_call": 0}

    def count(frame: object, event: str, argument: object) -> None:
        if event in counted and argument is not sys.setprofile:
            counted[event] += 1

    sys.setprofile(count)
    signer.write_headers(credentials, "DynamoDB_20120810.PutItem", b"{}", now)
    sys.setprofile(None)
    return counted["call"], counted["c_call"]


def test_signing_calls_few_functions() -> None:
    signer = RequestSigner("eu-west-1", "dynamodb", "h")
    signer.write_headers(CREDENTIALS, "DynamoDB_20120810.GetItem", b"{}", NOW)
    calls_of(signer, CREDENTIALS, NOW)  # a new operation: its name is checked once
    python, c = calls_of(signer, CREDENTIALS, NOW + 0.9)
    assert python == 1
    assert python + c <= 15
    python, c = calls_of(signer, CREDENTIALS, NOW + 1)  # another second
    assert python <= 7
    assert python + c <= 30


# Invalid header values, and secrets.


@pytest.mark.parametrize("bad", ["", "A B", "AKIA\n", "AKIA\r\nx: y", "AKIAé", "A\x00", "A\u2028"])
def test_an_invalid_access_key_or_token_is_refused(bad: str) -> None:
    for credentials in (Credentials(bad, "SENTINEL-SECRET"), Credentials("AKIA", "SENTINEL-SECRET", bad or " ")):
        with pytest.raises(ValueError, match=r"the credentials' (access key|token) is not valid") as caught:
            RequestSigner("eu-west-1", "dynamodb", "h").write_headers(credentials, "T.Op", b"", NOW)
        assert "SENTINEL" not in str(caught.value)
        assert not bad or bad not in str(caught.value)
        with pytest.raises(ValueError, match=r"the credentials' (access key|token) is not valid"):
            sign("GET", "h", "/", [], [], b"", credentials, "eu-west-1", "dynamodb", NOW)


def test_a_new_token_for_the_same_key_is_checked() -> None:
    signer = RequestSigner("eu-west-1", "dynamodb", "h")
    signer.write_headers(CREDENTIALS, "T.Op", b"", NOW)
    with pytest.raises(ValueError, match="the credentials' token"):
        signer.write_headers(CREDENTIALS.replace(token="T\r\nx: y"), "T.Op", b"", NOW)


@pytest.mark.parametrize("bad", ["T.Op\r\nx: y", "T.Op\n", "T.Op\x00", "T.é"])
def test_an_invalid_target_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"characters that are not allowed|ascii"):
        RequestSigner("eu-west-1", "dynamodb", "h").write_headers(CREDENTIALS, bad, b"", NOW)


def test_an_empty_token_counts_as_no_token() -> None:
    signer = RequestSigner("eu-west-1", "dynamodb", "h")
    assert signer.write_headers(Credentials(KEY, SECRET, ""), "T.Op", b"", NOW) == signer.write_headers(
        Credentials(KEY, SECRET), "T.Op", b"", NOW
    )


def test_no_secret_is_shown() -> None:
    signer = RequestSigner("eu-west-1", "dynamodb", "h")
    signer.write_headers(CREDENTIALS, "T.Op", b"{}", NOW)
    for shown in (repr(CREDENTIALS), str(CREDENTIALS), f"{CREDENTIALS}", f"{[CREDENTIALS]}", repr(signer), str(signer)):
        assert "SENTINEL" not in shown
    assert repr(CREDENTIALS) == "Credentials(access_key='…0042', expires=None)"


def test_a_short_access_key_is_not_shown() -> None:
    assert repr(Credentials("test", "test")) == "Credentials(access_key='…', expires=None)"


@pytest.mark.parametrize(("length", "shown"), [(15, "…"), (16, "…xxxx"), (17, "…xxxx")])
def test_the_end_of_a_key_of_aws_is_shown(length: int, shown: str) -> None:
    assert repr(Credentials("x" * length, "test")) == f"Credentials(access_key='{shown}', expires=None)"


def test_the_signer_remembers_few_targets() -> None:
    signer = RequestSigner("eu-west-1", "dynamodb", "example.com")
    for number in range(150):
        signer.write_headers(CREDENTIALS, f"DynamoDB_20120810.Operation{number}", b"{}", 1.0)
    assert {f"DynamoDB_20120810.Operation{number}" for number in range(100)} == signer._targets


def test_credentials_are_immutable_values() -> None:
    assert Credentials(*CREDENTIALS.as_tuple()) == CREDENTIALS
    assert CREDENTIALS.replace(token=None) != CREDENTIALS
    assert pickle.loads(pickle.dumps(CREDENTIALS)) == CREDENTIALS
    with pytest.raises(AttributeError, match="immutable"):
        CREDENTIALS.secret_key = "other"  # type: ignore[misc]


def test_the_signing_key_equals_the_documented_one() -> None:
    # The values are from AWS, "Examples of how to derive a signing key for Signature Version 4".
    key = signing_key(Credentials("AKIDEXAMPLE", SECRET), "20120215", "us-east-1", "iam")
    assert key.hex() == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"


@pytest.mark.parametrize(
    ("second", "stamp"),
    [
        (0, "19700101T000000Z"),
        (951_782_399, "20000228T235959Z"),
        (951_782_400, "20000229T000000Z"),
        (1_709_251_199, "20240229T235959Z"),
        (4_102_444_800, "21000101T000000Z"),
    ],
)
def test_seconds_are_formatted_as_a_stamp(second: int, stamp: str) -> None:
    assert format_stamp(second) == stamp


def test_the_module_imports_few_modules() -> None:
    program = f"""
import json, sys
before = set(sys.modules)
sys.path.insert(0, {str(SRC)!r})
import aws_backend.dynamodb.sigv4
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    run = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, check=True, timeout=60)
    loaded = set(json.loads(run.stdout))
    assert {name for name in loaded if name.split(".")[0] not in ("aws_backend", "sltt_core")} <= {
        "__future__",
        "_blake2",
        "_hashlib",
        "hashlib",
        "_operator",
        "operator",
        "time",
    }
