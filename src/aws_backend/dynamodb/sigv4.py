"""AWS Signature Version 4: the headers by which AWS recognises the sender of a request. Pure functions, no I/O.

`sign` signs any request; AWS's published test vectors prove it. `RequestSigner` does the same for the requests of
DynamoDB alone, and computes as much as possible in advance.

Sources: AWS, "Create a signed AWS API request" (IAM User Guide); for what it leaves open, botocore's `SigV4Auth`.
"""

from __future__ import annotations

from time import gmtime

from sltt_core.base.hashes import hmac_digest, sha256
from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Prepared = tuple["Credentials | None", int, bytes, str, str, str, str, str]
    """What all requests of one second share: see `RequestSigner._prepare`."""

ALGORITHM = "AWS4-HMAC-SHA256"
JSON_TYPE = "application/x-amz-json-1.0"
"""The content type of DynamoDB's requests (AWS: "DynamoDB low-level API")."""
NEVER_SIGNED = frozenset(
    {
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)
"""Headers that a proxy may change, in lower case; the list is botocore's."""
_SET_HERE = frozenset({"authorization", "host", "x-amz-date", "x-amz-security-token"})
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986, section 2.3
_MAX_KEYS = 8


class Credentials(Record):
    """AWS credentials. `repr` shows only the end of the access key."""

    access_key: str
    """The id of the key; not secret."""
    secret_key: str
    token: str | None = None
    """The session token of temporary credentials."""
    expires: float | None = None
    """Seconds since 1970; `None` if the credentials do not expire, or the time is not known."""

    def __repr__(self) -> str:
        end = self.access_key[-4:] if len(self.access_key) >= 16 else ""  # AWS's are 16 to 128 characters
        return f"Credentials(access_key='…{end}', expires={self.expires!r})"


def sign(
    method: str,
    host: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Iterable[tuple[str, str]],
    body: bytes,
    credentials: Credentials,
    region: str,
    service: str,
    now: float,
) -> dict[str, str]:
    """Return the headers to set on a request: `host`, `x-amz-date`, `authorization`, and `x-amz-security-token`.

    `host` includes the port unless it is the scheme's default. `path` is the path of the request line, percent-encoded
    or not: it is normalised and encoded once more, as every service except S3 expects. `query` holds decoded names and
    values, in any order (`encode_query` writes them). `headers` are the request's other headers: all are signed except
    those in `NEVER_SIGNED` and those that this function sets. `now` is seconds since 1970, UTC.

    Raises `ValueError` as `signing_key` does.
    """
    stamp = format_stamp(int(now))
    added = {"host": host, "x-amz-date": stamp}
    if credentials.token:
        added["x-amz-security-token"] = credentials.token
    given = [(name, value) for name, value in headers if name.strip().lower() not in _SET_HERE]
    canonical, signed = canonical_request(method, path, query, [*given, *added.items()], sha256(body).hexdigest())
    day = stamp[:8]
    key = signing_key(credentials, day, region, service)
    text = string_to_sign(stamp, region, service, canonical)
    signature = hmac_digest(key, text.encode(), "sha256").hex()
    added["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope(day, region, service)}, "
        f"SignedHeaders={signed}, Signature={signature}"
    )
    return added


def canonical_request(
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Iterable[tuple[str, str]],
    body_hash: str,
) -> tuple[str, str]:
    """Return the canonical form of a request, and the names of its signed headers, joined with `;`."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        lower = name.strip().lower()
        if lower not in NEVER_SIGNED:
            values.setdefault(lower, []).append(" ".join(value.split()))
    names = sorted(values)
    lines = "".join(f"{name}:{','.join(values[name])}\n" for name in names)
    signed = ";".join(names)
    where = f"{_encode(_normalise(path), also=b'/')}\n{encode_query(query)}"
    return f"{method.upper()}\n{where}\n{lines}\n{signed}\n{body_hash}", signed


def string_to_sign(stamp: str, region: str, service: str, canonical: str) -> str:
    """Return the text whose HMAC is the signature."""
    return f"{ALGORITHM}\n{stamp}\n{scope(stamp[:8], region, service)}\n{sha256(canonical.encode()).hexdigest()}"


def signing_key(credentials: Credentials, day: str, region: str, service: str) -> bytes:
    """Derive the signing key for a day (`YYYYMMDD`, UTC) from the secret key.

    Raises `ValueError` if the access key or the token is not valid in a header, for example because of a line end that
    was copied with it. AWS would only report a wrong signature. The message does not contain the value.
    """
    for name, value in (("access key", credentials.access_key), ("token", credentials.token or "-")):
        if not (value.isascii() and value.isprintable() and value and " " not in value):
            raise ValueError(
                f"the credentials' {name} is not valid: it is empty, or has a character outside visible ASCII"
            )
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac_digest(key, part.encode(), "sha256")
    return key


def scope(day: str, region: str, service: str) -> str:
    """Return the scope in which a signature is valid."""
    return f"{day}/{region}/{service}/aws4_request"


def format_stamp(second: int) -> str:
    """Format seconds since 1970 as `20150830T123600Z`."""
    return "{:04}{:02}{:02}T{:02}{:02}{:02}Z".format(*gmtime(second)[:6])


def encode_query(query: Iterable[tuple[str, str]]) -> str:
    """Return a query in its canonical form: encoded, then sorted by name and value."""
    return "&".join(f"{name}={value}" for name, value in sorted((_encode(n), _encode(v)) for n, v in query))


def _encode(text: str, also: bytes = b"") -> str:
    """Percent-encode a text's UTF-8 bytes, except unreserved characters and the bytes in `also`."""
    return "".join(chr(byte) if byte in _UNRESERVED or byte in also else f"%{byte:02X}" for byte in text.encode())


def _normalise(path: str) -> str:
    """Remove `.`, `..` and empty segments (RFC 3986, section 5.2.4, with AWS's additions)."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return f"/{'/'.join(kept)}{'/' if kept and path.endswith('/') else ''}"


_MAX_TARGETS = 100


class RequestSigner:
    """Writes the signed headers of DynamoDB's requests, which are all `POST /` with a JSON body.

    It computes once what is the same for the signer, for a day's key and for a second. The rest, for each request, is
    two hashes and one HMAC. Safe for use by several threads.
    """

    __slots__ = ("_host", "_keys", "_latest", "_region", "_service", "_targets")

    def __init__(self, region: str, service: str, host: str) -> None:
        """`host` includes the port unless it is the scheme's default."""
        self._region = region
        self._service = service
        self._host = host
        self._targets: set[str] = set()
        self._keys: dict[tuple[str, str, str | None, str], bytes] = {}
        # Read and replaced as a whole, so that a thread never sees a mixture of two values.
        self._latest: Prepared = (None, 0, b"", "", "", "", "", "")

    def write_headers(self, credentials: Credentials, target: str, body: bytes, now: float) -> bytes:
        """Return the request line and the headers, up to and including the empty line.

        The bytes to send are `write_headers(…) + body`.

        `target` names the operation, as in `DynamoDB_20120810.PutItem`; `now` is seconds since 1970. Raises
        `ValueError` for a target with characters that are not allowed in a header, and as `signing_key` does.
        """
        second = int(now)
        latest = self._latest
        if latest[0] is not credentials or latest[1] != second:
            latest = self._prepare(credentials, second)
        _, _, key, canonical, signed, preamble, lines, authorization = latest
        if target not in self._targets:
            self._check(target)
        request = f"{canonical}{target}{signed}{sha256(body).hexdigest()}"
        text = f"{preamble}{sha256(request.encode()).hexdigest()}"
        signature = hmac_digest(key, text.encode(), "sha256").hex()
        return f"{lines}{target}{authorization}{signature}\r\ncontent-length: {len(body)}\r\n\r\n".encode("ascii")

    def _check(self, target: str) -> None:
        if not target.isprintable():
            raise ValueError(f"target {target!r} is not valid: it has characters that are not allowed in a header")
        if len(self._targets) < _MAX_TARGETS:
            self._targets.add(target)

    def _prepare(self, credentials: Credentials, second: int) -> Prepared:
        """Compute what all requests of one second share."""
        stamp = format_stamp(second)
        where = scope(stamp[:8], self._region, self._service)
        token = credentials.token
        fixed = {"content-type": JSON_TYPE, "host": self._host, "x-amz-date": stamp}  # sorted by name
        if token:
            fixed["x-amz-security-token"] = token
        fixed["x-amz-target"] = ""
        names = ";".join(fixed)
        latest: Prepared = (
            credentials,
            second,
            self._key(credentials, stamp[:8]),
            "POST\n/\n\n" + "\n".join([f"{name}:{value}" for name, value in fixed.items()]),
            f"\n\n{names}\n",
            f"{ALGORITHM}\n{stamp}\n{where}\n",
            "POST / HTTP/1.1\r\n" + "\r\n".join([f"{name}: {value}" for name, value in fixed.items()]),
            f"\r\nauthorization: {ALGORITHM} Credential={credentials.access_key}/{where}, "
            f"SignedHeaders={names}, Signature=",
        )
        self._latest = latest
        return latest

    def _key(self, credentials: Credentials, day: str) -> bytes:
        # The token is included although the key does not depend on it, because `signing_key` also checks the token.
        identity = (credentials.access_key, credentials.secret_key, credentials.token, day)
        key = self._keys.get(identity)
        if key is None:
            key = signing_key(credentials, day, self._region, self._service)
            if len(self._keys) >= _MAX_KEYS:
                self._keys.clear()
            self._keys[identity] = key
        return key
