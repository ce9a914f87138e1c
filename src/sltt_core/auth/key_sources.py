"""`RemoteKeys`: the key set that an issuer publishes at a URL, kept in memory and asked for again with restraint."""

from __future__ import annotations

from sltt_core.auth.jwks import KEY_TYPES, MAX_SET_BYTES, parse_key_set
from sltt_core.base.errors import IssuerUnavailable
from sltt_core.base.json_reader import decode_utf8
from sltt_core.base.runtime import SYSTEM
from sltt_core.http_client.transport import HttpTransport, TransportError, parse_origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.auth.jwks import Key, KeySet, KeyTypes
    from sltt_core.base.runtime import Runtime
    from sltt_core.http_client.transport import Origin

UNKNOWN_SECONDS = 300
"""An unknown `kid` makes this server ask the issuer again after this time at the earliest."""
MAX_AGE_SECONDS = 3_600
"""A key set that is older is asked for again. It stays in use while the issuer does not respond."""
RETRY_SECONDS = 10
"""While no key set is known at all, the issuer is asked again after this time."""
FETCH_SECONDS = 5
"""The time limit of a request to the issuer."""


class RemoteKeys:
    """The keys at a URL. Several threads may call `find`; one of them asks the issuer, the others do not wait for it.

    Exception: without any key set, all wait for the first request.
    """

    def __init__(self, url: str, types: KeyTypes = KEY_TYPES, runtime: Runtime = SYSTEM) -> None:
        """`runtime.transport` creates the transport to the origin of `url`. Raises `ValueError` for a bad URL."""
        self._origin, self._target = parse_key_url(url)
        self._types = types
        self._transport = runtime.transport
        self._clock = runtime.steady_clock
        self._lock = runtime.new_lock()
        self._keys: KeySet | None = None
        self._asked = float("-inf")
        self._failure = ""

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """Return the key for a token's `kid` and `alg`, or `None` if the issuer does not have it.

        Raises `IssuerUnavailable` if the key is not known here and the last request to the issuer failed.
        """
        if self._keys is None:
            with self._lock:
                if self._keys is None and self._age() >= RETRY_SECONDS:
                    self._load()
        key = self._known(key_id, algorithm)
        least = UNKNOWN_SECONDS if key is None or self._failure else MAX_AGE_SECONDS
        if self._keys is not None and self._age() >= least:
            if self._lock.acquire(False):
                try:
                    if self._age() >= least:
                        self._load()
                finally:
                    self._lock.release()
                key = self._known(key_id, algorithm)
            elif key is None:
                raise _unavailable("another request is asking for them")
        if key is None and self._failure:
            raise _unavailable(self._failure)
        return key

    def _known(self, key_id: str | None, algorithm: str) -> Key | None:
        return None if self._keys is None else self._keys.find(key_id, algorithm)

    def _age(self) -> float:
        """Return the seconds since the issuer was asked, whatever came of it."""
        return self._clock() - self._asked

    def _load(self) -> None:
        """Ask for the key set; a failure keeps the set that is known, and is noted."""
        try:
            keys = parse_key_set(self._fetch(), self._types, secrets=False)
            if not len(keys):
                raise ValueError("has no key that can be used")
        except TransportError as error:
            self._failure = f"the issuer does not respond: {type(error).__name__}"
        except ValueError as error:
            self._failure = f"the issuer's response {error}"
        else:
            self._failure = ""
            self._keys = keys
        finally:
            self._asked = self._clock()

    def _fetch(self) -> str:
        """Return the text at the URL; raises `TransportError`, or `ValueError` for another response, as a redirect."""
        transport = (self._transport or self._new_transport)(self._origin, FETCH_SECONDS)
        lines = f"GET {self._target} HTTP/1.1\r\nhost: {self._origin.authority}\r\naccept: application/json\r\n\r\n"
        try:
            response = transport.send(lines.encode("ascii"), deadline=self._clock() + FETCH_SECONDS, repeatable=True)
        finally:
            transport.close()
        if response.status != 200:
            raise ValueError(f"has status {response.status}")
        return decode_utf8(response.body)

    def _new_transport(self, origin: Origin, seconds: float) -> HttpTransport:
        return HttpTransport(
            origin,
            connect_seconds=seconds,
            read_seconds=seconds,
            max_body=MAX_SET_BYTES,
            steady_clock=self._clock,
        )


def _unavailable(reason: str) -> IssuerUnavailable:
    return IssuerUnavailable(f"the token cannot be verified without the issuer's keys: {reason}")


def parse_key_url(url: str) -> tuple[Origin, str]:
    """Return the origin of a URL, and its path with the query. Raises `ValueError` with the reason.

    The scheme is `https`. It may be `http` for a loopback host, because there is no network in between.
    """
    scheme, found, rest = url.partition("://")
    host, _, path = rest.partition("/")
    try:
        if not found or any(not "!" <= c <= "~" or c == "#" for c in url):
            raise ValueError
        origin = parse_origin(f"{scheme}://{host}")
    except ValueError:  # its message contains the URL, which may contain a password
        raise ValueError("is not a URL such as https://id.example.org/jwks.json") from None
    if origin.scheme != "https" and not is_loopback(origin.host):
        raise ValueError("does not begin with https://, which only a loopback host may leave out")
    return origin, f"/{path}"


def is_loopback(host: str) -> bool:
    """Return whether a name, or an address without brackets, means this machine."""
    return host in ("localhost", "::1") or (host.startswith("127.") and not host.strip("0123456789."))
