"""Requests that are invalid or unusual HTTP/1.1: first lines, headers, and lengths of bodies."""

from __future__ import annotations

from sltt_core.server.framing import MAX_HEADER_BYTES
from tests.hostile.raw import CLOSE, HEALTH, HOST, JSON, POST, chunked, get, post
from tests.hostile.row import GOOD, NOT_HTTP, Row

SIZE = b"%d" % len(GOOD)
HEX = b"%x" % len(GOOD)
OLD = POST.replace(b"1.1", b"1.0")
CHUNKED = b"Transfer-Encoding: chunked\r\n"
IN_CHUNKS = POST + CHUNKED + b"\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: "
IN_CHUNKS_AND_UPGRADE = POST + UPGRADE + b"h2c\r\n" + CHUNKED + b"\r\n"

# First lines and headers

HEADERS = [
    Row("a bare LF ends the lines", b"GET /health HTTP/1.1\nHost: localhost\n\n", 400, NOT_HTTP),
    Row("a bare LF ends one line", b"GET /health HTTP/1.1\r\nHost: localhost\nX-A: b\r\n\r\n", 400, NOT_HTTP),
    Row("a bare CR in a header", HEALTH + b"X-A: a\rX-B: b\r\n\r\n", 400, NOT_HTTP),
    Row("a folded header", HEALTH + b"X-A: a\r\n b\r\n\r\n", 400, NOT_HTTP),
    Row("a folded first header", b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n", 400, NOT_HTTP),
    Row("a space before the colon", b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, NOT_HTTP),
    Row("NUL in a value", HEALTH + b"X-A: a\0b\r\n\r\n", 400, NOT_HTTP),
    Row("NUL in a name", HEALTH + b"X\0A: b\r\n\r\n", 400, NOT_HTTP),
    Row("a control character in a value", HEALTH + b"X-A: \x1b[2J\r\n\r\n", 400, NOT_HTTP),
    Row("a header without a name", HEALTH + b": x\r\n\r\n", 400, NOT_HTTP),
    Row("a header without a colon", HEALTH + b"abc\r\n\r\n", 400, NOT_HTTP),
    Row("a header's name beyond ASCII", HEALTH + "X-Ä: x\r\n\r\n".encode(), 400, NOT_HTTP),
    Row("a header's value beyond ASCII", HEALTH + b"X-Request-Id: \xff\xfe\r\n\r\n", 200),
    Row("no Host", b"GET /health HTTP/1.1\r\n\r\n", 400, "0 Host headers"),
    Row("two Hosts", HEALTH + b"Host: evil.example\r\n\r\n", 400, "2 Host headers"),
    Row("two Hosts that agree", HEALTH + HOST + b"\r\n", 400, "2 Host headers"),
    Row("an empty Host", b"GET /health HTTP/1.1\r\nHost:\r\n\r\n", 421),
    Row("another Host", b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    Row("two Hosts in one", b"GET /health HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n", 421),
    Row("a Host with a user", b"GET /health HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", 421),
    Row("a Host beyond ASCII", "GET /health HTTP/1.1\r\nHost: locälhost\r\n\r\n".encode(), 421),
    Row("another Host, with a body", post(GOOD).replace(b"localhost", b"evil.example"), 421),
    Row("an absolute URL", get("http://localhost/health"), 200),
    Row("an absolute URL of another host", get("http://evil.example/health"), 400, "different hosts"),
    Row("an absolute URL with a user", get("http://localhost:1@evil.example/health"), 400, "different hosts"),
    Row("an absolute URL of no host", get("http:///health"), 400, NOT_HTTP),
    Row("an authority instead of a path", get("localhost:80"), 400, NOT_HTTP),
    Row("a path without a slash", get("health"), 400, NOT_HTTP),
    Row("no path", get(""), 400, NOT_HTTP),
    Row("a query instead of a path", get("?a=b"), 400, NOT_HTTP),
    Row("CONNECT", b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400, NOT_HTTP),
    Row("CONNECT to a path", b"CONNECT /health HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    Row("OPTIONS *", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    Row("OPTIONS of nothing", b"OPTIONS /nothing HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    Row("GET *", get("*"), 404),
    Row("HTTP/0.9", b"GET /health\r\n\r\n", 400, "version 0.9"),
    Row("HTTP/1.0 without a Host", b"GET /health HTTP/1.0\r\n\r\n", 421),
    Row("HTTP/1.0", b"GET /health HTTP/1.0\r\n" + HOST + b"\r\n", 200),
    Row("HTTP/1.2", b"GET /health HTTP/1.2\r\n" + HOST + b"\r\n", 400, NOT_HTTP),
    Row("HTTP/2.0 by name", b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n", 400, "version 2.0"),
    Row("HTTP/11", b"GET /health HTTP/11\r\n" + HOST + b"\r\n", 400, NOT_HTTP),
    Row("http/1.1", b"GET /health http/1.1\r\n" + HOST + b"\r\n", 400, NOT_HTTP),
    Row("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 400, NOT_HTTP),
    Row("a TLS ClientHello", b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(190), 400, NOT_HTTP),
    Row("an SSH greeting", b"SSH-2.0-OpenSSH_9.6\r\n", 400, NOT_HTTP),
    Row("meaningless bytes", b"\xff" * 1000 + b"\r\n\r\n", 400, NOT_HTTP),
    Row("a WebSocket", HEALTH + UPGRADE + b"websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", 200),
    Row("HTTP/2 in clear text", HEALTH + UPGRADE + b"h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 200),
    Row("an upgrade with a body", post(GOOD, UPGRADE + b"h2c\r\n"), 200, stored=1),
    Row("an upgrade with a bad body", post(b"[", UPGRADE + b"h2c\r\n"), 400, "changes[0]"),
    Row("an upgrade with an empty body", post(b"", UPGRADE + b"h2c\r\n"), 400, "body:"),
    Row("an upgrade, in chunks", IN_CHUNKS_AND_UPGRADE + chunked(GOOD), 200, stored=1),
    Row("an upgrade, then a bad chunk", IN_CHUNKS_AND_UPGRADE + b"xyz\r\n", 400, NOT_HTTP),
    Row("an upgrade to two protocols", post(GOOD, UPGRADE + b"TLS/1.0, h2c\r\n"), 200, stored=1),
    Row("an upgrade to WebSocket, with a body", post(GOOD, UPGRADE + b"websocket\r\n"), 200, stored=1),
    Row("an upgrade with a body and no more", post(GOOD, UPGRADE + b"h2c\r\n" + CLOSE), 200, stored=1),
    Row("an upgrade, then trailers", IN_CHUNKS_AND_UPGRADE + chunked(GOOD, trailers=b"X: y\r\n"), 200, stored=1),
    Row("an upgrade with two lengths", post(GOOD, UPGRADE + b"h2c\r\nContent-Length: 1\r\n"), 400, NOT_HTTP),
    Row("an upgrade with an unknown coding", POST + UPGRADE + b"h2c\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    Row("a CONNECT with a body", post(GOOD).replace(b"POST", b"CONNECT"), 405),
    Row("Expect: 100-continue", post(GOOD, b"Expect: 100-continue\r\n"), 200, stored=1),
    Row("Expect: nonsense", post(GOOD, b"Expect: nonsense\r\n"), 200, stored=1),
    Row("TRACE", b"TRACE /health HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    Row("DELETE", b"DELETE /api/projects/p/changes/1 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    Row("PUT with a body", post(GOOD).replace(b"POST", b"PUT"), 405),
    Row("PROPFIND", b"PROPFIND / HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    Row("an unknown method", b"BREW /health HTTP/1.1\r\n" + HOST + b"\r\n", 400, NOT_HTTP),
    Row("a method in lower case", b"get /health HTTP/1.1\r\n" + HOST + b"\r\n", 400, NOT_HTTP),
    Row("a method of 10,000 letters", b"G" * 10_000 + b" /health HTTP/1.1\r\n" + HOST + b"\r\n", 400, NOT_HTTP),
    Row("tabs in the first line", b"GET\t/health\tHTTP/1.1\r\n" + HOST + b"\r\n", 400, NOT_HTTP),
    Row("blank lines first", b"\r\n\r\n" + HEALTH + b"\r\n", 200),
    Row("headers of just over 32 KB", HEALTH + b"X-A: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n", 431),
    Row("headers of nearly 32 KB", HEALTH + b"X-A: " + b"a" * (MAX_HEADER_BYTES - 50) + b"\r\n\r\n", 200),
    Row("a header of 1 MB", HEALTH + b"X-A: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
    Row("a header's name of 1 MB", HEALTH + b"X" * 1_000_000 + b": a\r\n\r\n", 431),
    Row("headers that do not end", HEALTH + b"X-A: " + b"a" * 1_000_000, 431),
    Row("100,000 headers", HEALTH + b"X-A: b\r\n" * 100_000 + b"\r\n", 431),
    Row("4,000 headers of one name", HEALTH + b"X-A:b\r\n" * 4000 + b"\r\n", 200),
    Row("a megabyte of blank lines", b"\r\n" * 500_000, 431),
    Row("a path of 30,000 letters", get("/" + "a" * 30_000), 404),
    Row("a path of 100,000 letters", get("/" + "a" * 100_000), 431),
    Row("a path of 30,000 slashes", get("/" * 30_000), 404),
    Row("a query of 30,000 letters", get("/health?" + "a" * 30_000), 400, "is unknown"),
    Row("a query of 100,000 letters", get("/health?" + "a" * 100_000), 431),
    Row("an origin that may not write", post(GOOD, b"Origin: https://evil.example\r\n"), 403),
    Row("the origin null", post(GOOD, b"Origin: null\r\n"), 403),
    Row("5,000 entity tags", get("/api/help", b"If-None-Match: " + b'W/"a",' * 5000 + b"\r\n"), 200),
    Row("any entity tag", get("/api/help", b"If-None-Match: *\r\n"), 304),
    Row("meaningless codings", get("/api/help", b"Accept-Encoding: gzip;q=\xff,*;q=;;,\xff\r\n"), 200),
    Row("two request ids", HEALTH + b"X-Request-Id: a\r\nX-Request-Id: b\r\n\r\n", 200),
]  # fmt: skip


# Lengths of bodies. When two hops disagree about the end of a body, requests can be smuggled.

LENGTHS = [
    Row("CL, then TE", POST + b"Content-Length: 6\r\n" + CHUNKED + b"\r\n" + chunked(GOOD), 400, NOT_HTTP),
    Row("TE, then CL", POST + CHUNKED + b"Content-Length: 6\r\n\r\n" + chunked(GOOD), 400, NOT_HTTP),
    Row("two CL that differ", post(GOOD, b"Content-Length: 3\r\n"), 400, NOT_HTTP),
    Row("two CL that agree", post(GOOD, b"Content-Length: " + SIZE + b"\r\n"), 400, NOT_HTTP),
    *(
        Row(f"CL {value!r}", POST + b"Content-Length: " + value + b"\r\n\r\n" + GOOD, 400, NOT_HTTP)
        for value in (
            SIZE + b", " + SIZE,
            b"+" + SIZE,
            b"-" + SIZE,
            b"-1",
            b"6 1",
            SIZE + b";",
            b"0x3e",
            SIZE + b".0",
            b"1e2",
            b"",
            b'"' + SIZE + b'"',
            "٦٢".encode(),
        )
    ),
    *(
        Row(f"CL of {len(length)} digits{name}", POST + b"Content-Length: " + length + b"\r\n" + more + b"\r\n", 413)
        for length in (b"4000001", b"9" * 19, b"%d" % (2**64 - 1), b"%d" % 2**64, b"1" + b"0" * 20, b"9" * 1000)
        if length != b"%d" % 2**64
        for name, more in (("", b""), (", expected", b"Expect: 100-continue\r\n"))
    ),
    Row("CL 2^64", POST + b"Content-Length: %d\r\n\r\n" % 2**64, 413),
    Row("CL in spaces", POST + b"Content-Length:  " + SIZE + b"  \r\n\r\n" + GOOD, 200, stored=1),
    Row("CL after zeros", POST + b"Content-Length: 000" + SIZE + b"\r\n\r\n" + GOOD, 200, stored=1),
    Row("CL too short", POST + b"Content-Length: 30\r\n\r\n" + GOOD, 400, "changes[0]"),
    Row("CL of a good body with more bytes after it", post(GOOD) + b"JUNK JUNK\r\n\r\n", 200, stored=1),
    Row("neither CL nor TE", POST + b"\r\n" + GOOD, 400, "body:"),
    Row("CL 0", post(b""), 400, "body:"),
    *(
        Row(f"TE {value!r}", POST + b"Transfer-Encoding:" + value + b"\r\n\r\n" + chunked(GOOD), 400, NOT_HTTP)
        for value in (
            b" chunked, chunked",
            b" chunked\r\nTransfer-Encoding: chunked",
            b" chunked\r\nTransfer-Encoding: identity",
            b" chunked, gzip",
            b" xchunked",
            b" identity",
            b" gzip",
            b"",
            b"\x0bchunked",
            b"\r\n chunked",
            b" chunked\r\n , identity",
            b' "chunked"',
            b" chunked;q=1",
            b" chunked\0",
        )
    ),
    Row("TE cHuNkEd", POST + b"Transfer-Encoding: cHuNkEd\r\n\r\n" + chunked(GOOD), 200, stored=1),
    Row("TE after a tab", POST + b"Transfer-Encoding:\tchunked\r\n\r\n" + chunked(GOOD), 200, stored=1),
    Row("a space before TE's colon", POST + b"Transfer-Encoding : chunked\r\n\r\n" + chunked(GOOD), 400, NOT_HTTP),
    *(
        Row(f"TE {value!r}", POST + b"Transfer-Encoding: " + value + b"\r\n\r\n" + chunked(GOOD), 501, "not chunked")
        for value in (
            b"gzip, chunked",
            b"GZIP,chunked",
            b"deflate, gzip, chunked",
            b"gzip\r\nTransfer-Encoding: chunked",
            b"identity, chunked",
            b", chunked",
        )
    ),
    *(
        Row(f"HTTP/1.0, TE {value!r}", OLD + b"Transfer-Encoding: " + value + b"\r\n\r\n" + chunked(GOOD), 400, "1.0")
        for value in (b"chunked", b"gzip, chunked", b"identity", b"chunked\r\nConnection: keep-alive")
    ),
    Row("chunks of one byte", IN_CHUNKS + chunked(*(GOOD[i : i + 1] for i in range(len(GOOD)))), 200, stored=1),
    *(
        Row(f"a chunk's size {size!r}", IN_CHUNKS + size + b"\r\n" + GOOD + b"\r\n0\r\n\r\n", 400, NOT_HTTP)
        for size in (b"zz", b"", b"-1", b"+3e", b" 3e", b"0x3e", b"f" * 17, b"1" + b"0" * 1000, b"3e\0", b"3e g")
    ),
    Row("a chunk's size is too small", IN_CHUNKS + b"3\r\n" + GOOD + b"\r\n0\r\n\r\n", 400, NOT_HTTP),
    Row("a chunk's size is too large", IN_CHUNKS + b"5f\r\n" + GOOD + b"\r\n0\r\n\r\n" + b"0" * 99, 400, NOT_HTTP),
    Row("LF after a chunk's size", IN_CHUNKS + HEX + b"\n" + GOOD + b"\r\n0\r\n\r\n", 400, NOT_HTTP),
    Row("LF after a chunk", IN_CHUNKS + HEX + b"\r\n" + GOOD + b"\n0\r\n\r\n", 400, NOT_HTTP),
    Row("LF in a chunk's extension", IN_CHUNKS + HEX + b";a\n" + GOOD + b"\r\n0\r\n\r\n", 400, NOT_HTTP),
    Row("a chunk's extension", IN_CHUNKS + HEX + b';a=b;c="d"\r\n' + GOOD + b"\r\n0\r\n\r\n", 200, stored=1),
    Row("a chunk's extension of 1 MB", IN_CHUNKS + b"3e;" + b"a" * 1_000_000 + b"\r\n" + GOOD, 431),
    Row("trailers", IN_CHUNKS + chunked(GOOD, trailers=b"X-A: b\r\n"), 200, stored=1),
    Row("a Host as trailer", IN_CHUNKS + chunked(GOOD, trailers=b"Host: evil.example\r\n"), 200, stored=1),
    Row(
        "a Host as trailer alone",
        b"POST /api/changes HTTP/1.1\r\n" + JSON + CHUNKED + b"\r\n" + chunked(GOOD, trailers=HOST),
        400,
        "0 Host headers",
    ),
    Row("an idempotency key as trailer", IN_CHUNKS + chunked(GOOD, trailers=b"Idempotency-Key: x\r\n"), 200, stored=1),
    Row("100,000 trailers", IN_CHUNKS + chunked(GOOD, trailers=b"X-A: b\r\n" * 100_000), 431),
    Row("a trailer of 1 MB", IN_CHUNKS + chunked(GOOD, trailers=b"X-A: " + b"b" * 1_000_000 + b"\r\n"), 431),
    Row("a GET with a body", get("/health", b"Content-Length: 9\r\n") + b"[[[[[[[[[", 200),
    Row("a request in a body", get("/health", b"Content-Length: 40\r\n") + get("/api/projects")[:40], 200),
]  # fmt: skip
