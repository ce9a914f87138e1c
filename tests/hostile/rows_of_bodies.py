"""Bodies of valid HTTP requests: too large, compressed, invalid JSON, invalid changes; and idempotency keys."""

from __future__ import annotations

import gzip
import zlib
from functools import cache

from sltt_core.api.bodies import MAX_MEMBERS
from sltt_core.api.http import MAX_BODY_BYTES
from sltt_core.base.json_reader import MAX_DEPTH
from sltt_core.model.fields import MAX_ENTITY_TYPES
from tests.hostile.raw import JSON, POST, change, chunked, post
from tests.hostile.row import GOOD, NOT_HTTP, Row

CHUNKED = b"Transfer-Encoding: chunked\r\n"
IN_CHUNKS = POST + CHUNKED + b"\r\n"

# Sizes

SIZES = [
    Row("4,000,000 bytes", lambda: post(GOOD.ljust(MAX_BODY_BYTES)), 200, stored=1),
    Row("4,000,001 bytes", lambda: post(GOOD.ljust(MAX_BODY_BYTES + 1)), 413, "4,000,000 bytes"),
    Row("4,000,001 bytes in chunks", lambda: IN_CHUNKS + chunked(*[b" " * 400_000] * 10, GOOD), 413),
    Row("9 MB in a chunk", lambda: IN_CHUNKS + chunked(b" " * 9_000_000), 413),
    Row("5 MB, lengths twice", lambda: post(b" " * 5_000_000, CHUNKED), 400, NOT_HTTP),
    Row("17 MB", lambda: post(b" " * 17_000_000), 413),
    Row("17 MB in chunks", lambda: IN_CHUNKS + chunked(*[b" " * 1_000_000] * 17), 413),
    Row("a change of 400 KB", post(b"[" + change('{"a":"' + "x" * 409_600 + '"}') + b"]"), 413, "409,600"),
    Row("data of 4 MB", lambda: post(change('{"a":[' + "0," * 1_990_000 + "0]}")), 413, "409,600"),
    Row("data of 4 MB of objects", lambda: post(change('{"a":[' + "{}," * 1_300_000 + "0]}")), 413, "409,600"),
    Row("a key of 4 MB", lambda: post(b'{"' + b"k" * 3_900_000 + b'":1}'), 400, "is not a field"),
    Row("2,000,000 numbers instead of changes", lambda: post(b"[" + b"0," * 1_990_000 + b"0]"), 400, "and 1000 more"),
    Row("60,000 bad changes", lambda: post(b"[" + b",".join([change(seq="-1")] * 50_000) + b"]"), 400, "and 1000 more"),
    Row("a key 780,000 times", lambda: post(b"{" + b",".join([b'"":0'] * 780_000) + b"}"), 400, "and 1000 more"),
    Row(
        "one type too many",
        post(b"[%b]" % b",".join(change(projectId='"q"', entityType=f'"t{i}"') for i in range(MAX_ENTITY_TYPES + 1))),
        400,
        f"at most {MAX_ENTITY_TYPES}",
    ),
    Row("999 good ones, then a bad one", post(b"[" + (change() + b",") * 999 + b"{}]"), 400, "changes[999]"),
]  # fmt: skip


# Bombs


@cache
def zeros(size: int) -> bytes:
    """Return compressed zeros: one compressed block of them, repeated."""
    step = 2**24
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(bytes(step)) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(size // step):
        checksum = zlib.crc32(bytes(step), checksum)
    tail = zlib.compressobj(9, wbits=-15).flush()
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    return head + block * (size // step) + tail + checksum.to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")


def compressed(body: bytes, coding: bytes = b"gzip") -> bytes:
    return post(body, b"Content-Encoding: " + coding + b"\r\n")


NAMED = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"
COMPRESSED = gzip.compress(GOOD, mtime=0)
EMPTY = gzip.compress(b"", mtime=0)

BOMBS = [
    Row("1 GB of zeros", lambda: compressed(zeros(2**30)), 413, "when decompressed"),
    Row("1 GB of zeros, compressed twice", lambda: compressed(gzip.compress(zeros(2**30))), 400, "UTF-8"),
    Row("1 GB of zeros, coded twice", lambda: compressed(gzip.compress(zeros(2**30)), b"gzip, gzip"), 415),
    Row("4,000,000 bytes, decompressed", lambda: compressed(gzip.compress(GOOD.ljust(MAX_BODY_BYTES))), 200, stored=1),
    Row("4,000,001 bytes, decompressed", lambda: compressed(gzip.compress(GOOD.ljust(MAX_BODY_BYTES + 1))), 413),
    Row("many bytes in many members", lambda: compressed(gzip.compress(b" " * 100_000) * 50), 413),
    Row("200,000 members", lambda: compressed(EMPTY * 200_000), 400, "members"),
    Row("the maximum of members", compressed(EMPTY * (MAX_MEMBERS - 1) + COMPRESSED), 200, stored=1),
    Row("one member too many", compressed(EMPTY * MAX_MEMBERS + COMPRESSED), 400, "members"),
    Row("a change in two members", compressed(gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:])), 200, stored=1),
    Row("nothing", compressed(b""), 400, "is incomplete"),
    Row("an empty member", compressed(EMPTY), 400, "expected an array"),
    Row("truncated in the header", compressed(COMPRESSED[:5]), 400, "is incomplete"),
    Row("truncated in the middle", compressed(COMPRESSED[:-20]), 400, "is incomplete"),
    Row("truncated in the checksum", compressed(COMPRESSED[:-1]), 400, "is incomplete"),
    Row("zeros after it", compressed(COMPRESSED + bytes(100)), 400, "not gzip"),
    Row("junk after it", compressed(COMPRESSED + b"junk"), 400, "not gzip"),
    Row("a good body after it", compressed(COMPRESSED + GOOD), 400, "not gzip"),
    Row("a wrong checksum", compressed(COMPRESSED[:-8] + b"\0\0\0\0" + COMPRESSED[-4:]), 400, "not gzip"),
    Row("a wrong length", compressed(COMPRESSED[:-4] + b"\0\0\0\0"), 400, "not gzip"),
    Row("plain bytes", compressed(GOOD), 400, "not gzip"),
    Row("another method than deflate", compressed(COMPRESSED[:2] + b"\x07" + COMPRESSED[3:]), 400, "not gzip"),
    Row("a file name of 1 MB", compressed(NAMED + b"n" * 1_000_000 + b"\0" + COMPRESSED[10:]), 200, stored=1),
    Row("a file name that does not end", compressed(NAMED + b"n" * 1_000_000), 400, "is incomplete"),
    Row("zlib for gzip", compressed(zlib.compress(GOOD)), 400, "not gzip"),
    Row("deflate", compressed(zlib.compress(GOOD), b"deflate"), 415),
    Row("br", compressed(b"\x0b\x02\x80[]\x03", b"br"), 415),
    Row("zstd", compressed(b"\x28\xb5\x2f\xfd\x04\x00", b"zstd"), 415),
    Row("gzip twice", compressed(gzip.compress(COMPRESSED), b"gzip, gzip"), 415),
    Row("gzip in two headers", compressed(COMPRESSED, b"gzip\r\nContent-Encoding: gzip"), 415),
    Row("gzip with a parameter", compressed(COMPRESSED, b"gzip;q=1"), 415),
    Row("a coding beyond ASCII", compressed(COMPRESSED, b"g\xffzip"), 415),
    Row("a coding of 30,000 letters", compressed(COMPRESSED, b"z" * 30_000), 415),
    Row("GZIP", compressed(COMPRESSED, b"GZIP"), 200, stored=1),
]  # fmt: skip


# JSON


def batch(name: str, data: str, status: int, detail: str = "", stored: int = 0) -> Row:
    """Return a row whose change has this data."""
    return Row(f"data {name}", post(b"[" + change(data) + b"]"), status, detail, stored)


def field(name: str, text: str, status: int = 400, detail: str = "") -> Row:
    """Return a row whose change has this text in a field."""
    return Row(
        f"{name[:50]} {text[:50]}", post(b"[" + change(**{name: text}) + b"]"), status, detail, int(status == 200)
    )


def nested(levels: int) -> str:
    """Return data of this depth, including the outer object."""
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


DEEPER = f"nested deeper than {MAX_DEPTH} levels"
HALF = "half of a surrogate pair"
LARGE = "too large for a double"
TWICE = "appears twice"

BODIES = [
    batch("64 levels deep", nested(64), 200, stored=1),
    batch("65 levels deep", nested(65), 400, DEEPER),
    batch("65 objects deep", '{"a":' * 65 + "1" + "}" * 65, 400, DEEPER),
    batch("100,000 levels deep", nested(100_000), 400, DEEPER),
    batch("100,000 brackets deep in an unknown field", "{}," + '"x":' + "[" * 100_000 + "]" * 100_000, 400, DEEPER),
    batch("with 100,000 brackets in a string", '{"a":"' + "[{" * 50_000 + '"}', 200, stored=1),
    Row("100,000 brackets", post(b"[" * 100_000), 400, DEEPER),
    Row("100,000 brackets and back", post(b"[" * 100_000 + b"]" * 100_000), 400, DEEPER),
    Row("100,000 objects", post(b'{"data":' * 100_000), 400, DEEPER),
    Row("4,000,000 brackets", lambda: post(b"[" * 4_000_000), 400, DEEPER),
    batch("NaN", '{"a":NaN}', 400, "NaN is not JSON"),
    batch("Infinity", '{"a":Infinity}', 400, "not JSON"),
    batch("-Infinity", '{"a":[-Infinity]}', 400, "not JSON"),
    batch("1e999", '{"a":1e999}', 400, LARGE),
    batch("-1e999", '{"a":-1e999}', 400, LARGE),
    batch("1E400", '{"a":{"b":[1E400]}}', 400, LARGE),
    batch("1e309", '{"a":1e309}', 400, LARGE),
    batch("1.8e308", '{"a":1.8e308}', 400, LARGE),
    batch("1.7e308", '{"a":1.7e308}', 200, stored=1),
    batch("0.1e-999", '{"a":0.1e-999}', 200, stored=1),
    batch("1e with 100,000 digits", '{"a":1e' + "9" * 100_000 + "}", 400, LARGE),
    batch("1e- with 100,000 digits", '{"a":1e-' + "9" * 100_000 + "}", 200, stored=1),
    batch("a fraction of 100,000 digits", '{"a":0.' + "1" * 100_000 + "}", 200, stored=1),
    batch("an integer of 309 digits", '{"a":' + "1" * 309 + "}", 200, stored=1),
    batch("an integer of 100,000 digits", '{"a":' + "7" * 100_000 + "}", 200, stored=1),
    batch("1.", '{"a":1.}', 400),
    batch("01", '{"a":01}', 400),
    batch("+1", '{"a":+1}', 400),
    batch("0x10", '{"a":0x10}', 400),
    batch("half a pair", '{"a":"\\ud800"}', 400, HALF),
    batch("half a pair, upper case", '{"a":"x\\uDFFFx"}', 400, HALF),
    batch("a pair in the wrong order", '{"a":"\\udc00\\ud800"}', 400, HALF),
    batch("half a pair as a key", '{"\\ud800":1}', 400, HALF),
    batch("half a pair deep inside", '{"a":[[{"b":"\\ud800\\u0041"}]]}', 400, HALF),
    batch("a whole pair", '{"a":"\\ud83d\\ude00"}', 200, stored=1),
    batch("NUL as an escape", '{"a\\u0000":"\\u0000"}', 200, stored=1),
    batch("NUL", '{"a":"\0"}', 400, "control character"),
    batch("a line feed in a string", '{"a":"\n"}', 400, "control character"),
    batch("a broken escape", '{"a":"\\x41"}', 400, "escape"),
    batch("a key twice", '{"a":1,"a":1}', 400, TWICE),
    batch("a key twice, one escaped", '{"a":1,"\\u0061":1}', 400, TWICE),
    batch("a key twice deep inside", '{"a":[{"b":{"c":1,"c":2}}]}', 400, TWICE),
    batch("__proto__", '{"__proto__":{"admin":true},"constructor":1}', 200, stored=1),
    batch("an array", "[]", 400, "not a JSON object"),
    batch("a string of JSON", '"{}"', 400, "not a JSON object"),
    batch("twice", '{},"data":{}', 400, "given twice"),
    batch("with a comment", '{"a":1/**/}', 400),
    batch("with a trailing comma", '{"a":1,}', 400),
    batch("with single quotes", "{'a':1}", 400),
    field("seq", "7" * 100_000, detail="is not an integer"),
    field("seq", "-1", detail="is not an integer"),
    field("seq", str(2**63), detail="is not an integer"),
    field("seq", str(2**63 - 1), 200),
    field("seq", "1.0", detail="is not an integer"),
    field("seq", "1e0", detail="is not an integer"),
    field("seq", '"1"', detail="is not an integer"),
    field("seq", "true", detail="is not an integer"),
    field("seq", "[[1]]", detail="is not an integer"),
    field("projectId", '"SEQUENCE#p"', detail="is not valid"),
    field("projectId", '"a/../p"', detail="is not valid"),
    field("projectId", '"p\\u0000"', detail="is not valid"),
    field("projectId", '"*"', detail="is not valid"),
    field("projectId", '"p" ', 200),
    field("projectId", '"' + "p" * 129 + '"', detail="longer than"),
    field("projectId", '""', detail="is empty"),
    field("projectId", "null", detail="is required"),
    field("projectId", '["p"]', detail="is not a string"),
    field("projectId", '"\\uff50"', detail="is not valid"),
    field("entityType", '"t t"', detail="is not valid"),
    field("entityType", '"' + "t" * 65 + '"', detail="longer than"),
    field("entityId", '""', detail="is empty"),
    field("entityId", '"' + "e" * 256 + '"', detail="longer than"),
    field("entityId", '"\\u0000"', detail="control character"),
    field("entityId", '"a\\r\\nSet-Cookie: b"', detail="control character"),
    field("entityId", '"\\u0085"', detail="control character"),
    field("entityId", '"\\udead"', detail="surrogate"),
    field("entityId", "{}", detail="is not a string"),
    field("entityId", '"\'; DROP TABLE changes; --"', 200),
    field("operation", '"void"', detail="is not one of"),
    field("operation", '"CREATE"', detail="is not one of"),
    field("operation", "[]", detail="is not one of"),
    field("operation", "{}", detail="is not one of"),
    field("timestamp", '"2025-02-30T00:00:00Z"', detail="day"),
    field("timestamp", '"+12025-01-01T00:00:00Z"', detail="is not an ISO 8601"),
    field("timestamp", '"٢٠٢٥-01-01T00:00:00Z"', detail="is not an ISO 8601"),
    field("timestamp", '"' + "2" * 100_000 + '"', detail="longer than"),
    field("timestamp", "1740821400", detail="is not a string"),
    field("cid", '"\\u001b[31m"', detail="control character"),
    field("changeBy", '"' + "x" * 100_000 + '"', detail="longer than"),
    field("chain", '"AAAAAAAAAAAAAAAAAAAAAA"', detail="is not a field"),
    field("__proto__", "{}", detail="is not a field"),
    field("k" * 100_000, "1", detail="is not a field"),
    Row("an empty body", post(b""), 400, "expected an array"),
    Row("blanks", post(b" \r\n\t" * 1000), 400, "expected an array"),
    Row("an empty array", post(b"[]"), 400, "empty"),
    Row("null", post(b"null"), 400, "expected an array"),
    Row("a string", post(b'"x"'), 400, "expected an array"),
    Row("an array of null", post(b"[null]"), 400, "is not a JSON object"),
    Row("an array in an array", post(b"[" + GOOD + b"]"), 400, "is not a JSON object"),
    Row("an empty object", post(b"{}"), 400, "is required"),
    Row("a trailing comma", post(GOOD[:-1] + b",]"), 400, "expected a value"),
    Row("two values", post(GOOD + GOOD), 400, "the end of the text"),
    Row("lines of JSON", post(change() + b"\n" + change()), 400, "the end of the text"),
    Row("an array that does not end", post(GOOD[:-1]), 400, "',' or ']'"),
    Row("a good one, then junk", post(GOOD[:-1] + b",junk]"), 400, "expected a value"),
    Row("a form", post(b"projectId=p&data=%7B%7D"), 400, "expected an array"),
    Row("XML", post(b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>'), 400),
    Row("invalid UTF-8", post(GOOD.replace(b'"e"', b'"\xff"')), 400, "is not UTF-8"),
    Row("latin-1", post(GOOD.replace(b'"e"', b'"\xe9"')), 400, "is not UTF-8"),
    Row("an overlong form", post(GOOD.replace(b'"e"', b'"\xc0\xaf"')), 400, "is not UTF-8"),
    Row("an overlong form of three", post(GOOD.replace(b'"e"', b'"\xe0\x80\xaf"')), 400, "is not UTF-8"),
    Row("a surrogate in UTF-8", post(GOOD.replace(b'"e"', b'"\xed\xa0\x80"')), 400, "is not UTF-8"),
    Row("beyond Unicode", post(GOOD.replace(b'"e"', b'"\xf4\x90\x80\x80"')), 400, "is not UTF-8"),
    Row("a character cut in half", post(b'[{"entityId":"\xe2\x82'), 400, "is not UTF-8"),
    Row("a byte order mark", post(b"\xef\xbb\xbf" + GOOD), 400, "byte order mark"),
    Row("UTF-16", post(GOOD.decode().encode("utf-16")), 400, "is not UTF-8"),
    Row("UTF-16, little end", post(GOOD.decode().encode("utf-16-le")), 400, "expected"),
    Row("UTF-16, big end", post(GOOD.decode().encode("utf-16-be")), 400, "expected an array"),
    Row("UTF-32", post(GOOD.decode().encode("utf-32")), 400, "is not UTF-8"),
    Row("UTF-7", post(GOOD.decode().replace("{", "+AHs-").encode()), 400, "expected a value"),
    *(
        Row(f"Content-Type {kind!r}", post(GOOD).replace(JSON, kind and b"Content-Type: " + kind + b"\r\n"), 415)
        for kind in (
            b"",
            b"text/plain",
            b"application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=x",
            b"application/json, text/plain",
            b"application/json\r\nContent-Type: application/json",
            b"application/jsonx",
            b"text/plain; application/json",
            b"\xff",
            b"x" * 30_000,
        )
    ),
    Row("another charset, by its name", post(GOOD).replace(b"/json", b"/json; charset=utf-16"), 200, stored=1),
]  # fmt: skip


# Idempotency keys


def key(value: bytes, status: int = 400, detail: str = "16 to 128") -> Row:
    request = post(GOOD, b"Idempotency-Key: " + value + b"\r\n")
    return Row(f"key {value[:40]!r} ({len(value)})", request, status, detail, int(status == 200))


KEYS = [
    key(b"", detail="is empty"),
    key(b" \t ", detail="is empty"),
    key(b"a" * 15),
    key(b"a" * 129, detail="longer than"),
    key(b"a" * 30_000, detail="longer than"),
    key(b"b" * 16, 200, ""),
    key(b"b" * 128, 200, ""),
    key(b"c" * 16 + b" " + b"c" * 16),
    key(b"c" * 16 + b"\r\nIdempotency-Key: " + b"d" * 16),
    key(b"c" * 16 + b"\r\nIdempotency-Key: " + b"c" * 16),
    key(b"c" * 16 + b"\r\n cccc", detail=NOT_HTTP),
    key(b"c" * 16 + b"\rX-A: b", detail=NOT_HTTP),
    key(b"c" * 16 + b"\nX-A: b", detail=NOT_HTTP),
    key(b"c" * 16 + b"\0", detail=NOT_HTTP),
    key(b"c" * 16 + b"%0D%0A"),
    key(b"c" * 16 + b"#" + b"c" * 16),
    key(b"\xff" * 20),
    key("é".encode() * 20),
    key(b'"' + b"e" * 16 + b'"', 200, ""),
    key(b'"' + b"e" * 128 + b'"', 200, ""),
    key(b'"' + b"e" * 15 + b'"'),
    key(b'"' + b"e" * 129 + b'"', detail="longer than"),
    key(b'"'),
    key(b'""', detail="is empty"),
    key(b'"' + b"e" * 20),
    key(b"e" * 20 + b'"'),
    key(b'""' + b"e" * 20 + b'""'),
    key(b'"' + b"e" * 20 + b'";a=1'),
    key(b'"' + b"e" * 20 + b'", "' + b"e" * 20 + b'"'),
    key(b'"' + b"e" * 20 + b'\\""'),
    key(b"'" + b"e" * 20 + b"'"),
    key(b"'; DROP TABLE requests; --"),
]
