"""CORS (https://fetch.spec.whatwg.org/#http-cors-protocol): which web pages may use the API and write to it."""

from __future__ import annotations

from sltt_core.base.errors import InvalidInput, NotAllowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sltt_core.api.http import Request

ANY = "*"
_REQUEST_HEADERS = (
    "content-type, content-encoding, idempotency-key, if-head, if-none-match, x-request-id, authorization, x-api-key, "
    "x-amz-date, x-amz-security-token, x-amz-content-sha256, x-amz-user-agent, traceparent, tracestate, baggage"
)
_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_EXPOSED_HEADERS = "etag, retry-after, x-request-id"
_PREFLIGHT_SECONDS = 600


class Cors:
    """The origins whose pages may read responses and send changes: a list, or `*` for all."""

    def __init__(self, origins: Sequence[str] = (), setting: str = "--cors", *, challenges: bool = False) -> None:
        """`setting` is the name of the setting of the origins, for a hint.

        `challenges` lets pages read `WWW-Authenticate`.

        Raises `InvalidInput` for a text that is not an origin: it would silently allow no page.
        """
        self._setting = setting
        self._exposed = _EXPOSED_HEADERS + (", www-authenticate" if challenges else "")
        self._origins = frozenset(map(_origin, origins))

    def check(self, request: Request) -> None:
        """Raise `NotAllowed` for a write from a page of an origin that is not allowed. Browsers send the origin."""
        origin = request.headers.get("origin")
        if origin is None or request.method in ("GET", "HEAD", "OPTIONS"):
            return
        if not _is_own(origin.lower(), request.headers) and not self._allows(origin):
            error = NotAllowed(f"pages of {origin[:100]} may not write here")
            error.operator_hint = f"Add the origin to {self._setting}."
            raise error

    def headers(self, request: Request) -> tuple[tuple[str, str], ...]:
        """Return the CORS headers of a response."""
        if not self._origins:
            return ()
        if ANY in self._origins:
            allowed = ANY
        else:
            origin = request.headers.get("origin", "")
            if not self._allows(origin):
                return (("vary", "origin"),)
            allowed = origin
        shown = (("access-control-allow-origin", allowed), ("access-control-expose-headers", self._exposed))
        return shown if allowed == ANY else (*shown, ("vary", "origin"))

    def preflight_headers(self, request: Request, methods: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return the additional headers of a response to a preflight request."""
        if "access-control-request-method" not in request.headers or not self._allows(
            request.headers.get("origin", "")
        ):
            return ()
        return (
            ("access-control-allow-methods", ", ".join(methods)),
            ("access-control-allow-headers", _allowed(request.headers.get("access-control-request-headers", ""))),
            ("access-control-max-age", str(_PREFLIGHT_SECONDS)),
        )

    def _allows(self, origin: str) -> bool:
        return ANY in self._origins or origin.lower() in self._origins


def _is_own(origin: str, headers: Mapping[str, str]) -> bool:
    """Return whether a page of the API's own origin sent a request, also behind a proxy such as CloudFront.

    A page of another origin cannot send `X-Forwarded-Host`: the preflight response does not allow it.
    """
    scheme, _, place = origin.partition("://")
    forwarded = headers.get("x-forwarded-host", "").partition(",")[0].strip()
    return bool(place) and (
        place == headers.get("host", "").lower() or (scheme == "https" and place == forwarded.lower())
    )


def _allowed(asked: str) -> str:
    """Return the headers that a page of an allowed origin may send: the usual ones, and the valid ones of `asked`."""
    names = (name.strip().lower() for name in asked.split(","))
    valid = [name for name in names if name and not name.strip(_TOKEN)]
    return ", ".join(dict.fromkeys((*_REQUEST_HEADERS.split(", "), *valid)))


def _origin(text: str) -> str:
    """Return an origin for comparison: scheme, host and optional port, or `*` (RFC 6454, section 6.1)."""
    origin = text.rstrip("/").lower()
    scheme, found, host = origin.partition("://")
    if origin != ANY and not (found and scheme and host and not any(c in origin for c in " ?#@,*") and "/" not in host):
        raise InvalidInput(
            f"{text!r} is not the origin of a web page",
            field="cors",
            hint="An example is https://app.example.org; * allows all.",
        )
    return origin
