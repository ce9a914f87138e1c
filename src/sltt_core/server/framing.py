"""Faults of a request's head that the parser of uvicorn accepts: its size, its host, the length of its body."""

from __future__ import annotations

from sltt_core.base.errors import HeadersTooLarge, InvalidInput, UnknownCoding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sltt_core.base.errors import SlttError

    Headers = Sequence[tuple[bytes, bytes]]
    """Names in lower case, and values."""

MAX_HEADER_BYTES = 32_768
"""Bytes of a request's first line and headers."""


def fault_of_head(version: str, url: bytes, headers: Headers) -> SlttError | None:
    """Return the error of a request's first line and headers, or `None`."""
    if len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEADER_BYTES:
        return headers_too_large()
    if version not in ("1.0", "1.1"):
        return InvalidInput(f"HTTP version {version} is not supported: 1.0 or 1.1", field="request")
    return _fault_of_host(version, url, headers) or _fault_of_coding(version, headers)


def head_of_body(headers: Headers) -> bytes:
    """Return the headers that tell where the body ends, as lines; none if the request has no body."""
    names = (b"content-length", b"transfer-encoding")
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers if name in names and value.strip(b"0"))


def headers_too_large() -> SlttError:
    """Return the error for headers, trailers or chunk extensions that are too large."""
    return HeadersTooLarge(f"the request's headers or trailers are larger than {MAX_HEADER_BYTES:,} bytes")


def _fault_of_host(version: str, url: bytes, headers: Headers) -> SlttError | None:
    """RFC 9112, sections 3.2 and 3.2.2."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        return InvalidInput(f"the request has {len(hosts)} Host headers, not one", field="host")
    if not url.startswith(b"/"):
        authority = url.partition(b"://")[2].partition(b"/")[0]
        if authority and [authority.lower()] != [host.lower() for host in hosts]:
            return InvalidInput("the request's URL and its Host header name different hosts", field="host")
    return None


def _fault_of_coding(version: str, headers: Headers) -> SlttError | None:
    """RFC 9112, sections 6.1 and 6.3: HTTP/1.0 has no transfer codings, the last one must be `chunked`."""
    values = [value for name, value in headers if name == b"transfer-encoding"]
    codings = [coding.strip(b" \t").lower() for coding in b",".join(values).split(b",")] if values else []
    if codings and version == "1.0":
        return InvalidInput(
            "an HTTP/1.0 request must not have a Transfer-Encoding",
            field="transfer-encoding",
            hint="Send Content-Length, or use HTTP/1.1.",
        )
    if codings and codings[-1] != b"chunked":
        return InvalidInput(
            "the request is not valid HTTP: its Transfer-Encoding does not end with chunked", field="transfer-encoding"
        )
    if len(codings) > 1:
        return UnknownCoding("the request's Transfer-Encoding is not chunked alone")
    return None
