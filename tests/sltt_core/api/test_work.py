"""The work of a request grows in proportion to its bytes, whatever they are: counted in instructions of Python.

Instructions are counted, not seconds. What runs in C is not counted; it takes part only by calls of linear cost.
"""

from __future__ import annotations

import gc
import gzip
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.api.app import Api
from sltt_core.api.http import MAX_BODY_BYTES, Request
from sltt_core.base.errors import InvalidBatch
from sltt_core.model.changes import LARGE_BODY, parse_changes
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

Make = Callable[[int], Request]
"""Makes a request of about so many bytes."""


def post(content: str, **headers: str) -> Request:
    return sent(content.encode(), **headers)


def sent(body: bytes, **headers: str) -> Request:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", "/api/changes", "", {"content-type": "application/json", **fields}, body)


def get(query: str = "", **headers: str) -> Request:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", "/api/projects/p/changes", query, fields, b"")


def change(data: str, more: str = "") -> str:
    return f'{{"projectId":"p","entityType":"t","entityId":"e","data":{data}{more}}}'


def filled(unit: str, size: int, joint: str = ",") -> str:
    return joint.join([unit] * (size // (len(unit) + len(joint))))


BODIES: dict[str, Callable[[int], str]] = {
    "deep arrays": lambda size: change(f'{{"a":[{filled("[" * 60 + "]" * 60, size)}]}}'),
    "deep objects": lambda size: change(f'{{"a":[{filled(chr(123) + filled(chr(34) + "a" + chr(34), 1), size)}]}}'),
    "too deep": lambda size: change("[" * (size // 2) + "]" * (size // 2)),
    "open brackets": lambda size: "[" * size,
    "open objects": lambda size: change('{"a":' * (size // 5)),
    "flat arrays": lambda size: change(f'{{"a":[{filled("[]", size)}]}}'),
    "objects": lambda size: change(f'{{"a":[{filled("{}", size)}]}}'),
    "integers": lambda size: change(f'{{"a":[{filled("1", size)}]}}'),
    "fractions": lambda size: change(f'{{"a":[{filled("1.5", size)}]}}'),
    "keys": lambda size: change("{" + ",".join(f'"k{number}":0' for number in range(size // 10)) + "}"),
    "a key twice": lambda size: change("{" + filled('"a":0', size) + "}"),
    "surrogate pairs": lambda size: change(f'{{"a":["\\ud83d\\ude00",{filled(chr(34) * 2, size)}]}}'),
    "escapes": lambda size: change('{"a":"' + "\\u0041" * (size // 6) + '"}'),
    "backslashes": lambda size: change('{"a":"' + "\\\\" * (size // 2) + '"}'),
    "a long integer": lambda size: change('{"a":' + "1" * size + "}"),
    "a long fraction": lambda size: change('{"a":1.' + "1" * size + "}"),
    "a long exponent": lambda size: change('{"a":1e' + "1" * size + "}"),
    "a long key": lambda size: change('{"' + "k" * size + '":1}'),
    "long ids": lambda size: f'[{{"entityId":"{"e" * size}","entityType":"{"t" * size}","projectId":"{"p" * size}"}}]',
    "a long time": lambda size: change("{}", f',"timestamp":"2025-03-01T09:30:00.{"1" * size}Z"'),
    "a long operation": lambda size: change("{}", f',"operation":"{"1" * size}"'),
    "arrays for an id": lambda size: f'[{{"entityId":[{filled("[[]]", size)}]}}]',
    "empty changes": lambda size: f"[{filled('{}', size)}]",
    "empty arrays": lambda size: f"[{filled('[]', size)}]",
    "nulls": lambda size: f"[{filled('null', size)}]",
    "unknown fields": lambda size: "[{" + ",".join(f'"k{number}":1' for number in range(size // 10)) + "}]",
    "a field twice": lambda size: "[{" + filled('"entityId":"e"', size) + "}]",
    "data twice": lambda size: "[{" + filled('"data":{}', size) + "}]",
    "NaN": lambda size: "[{" + filled('"a":NaN', size) + "}]",
    "small changes": lambda size: f"[{filled(change('{}'), size)}]",
    "spaces": lambda size: " " * size,
    "spaces between": lambda size: "[" + filled(" " * 50 + "1", size) + "]",
    "not JSON": lambda size: "x" * size,
    "not UTF-8": lambda size: "\ud800".encode("utf-8", "surrogatepass").decode("latin-1") * (size // 3),
}
REQUESTS: dict[str, Make] = {
    **{name: lambda size, body=body: post(body(size)) for name, body in BODIES.items()},  # type: ignore[misc]
    "gzip": lambda size: sent(gzip.compress(bytes(size)), content_encoding="gzip"),
    "gzip members": lambda size: sent(gzip.compress(b"") * (size // 20), content_encoding="gzip"),
    "broken gzip": lambda size: sent(b"\x1f\x8b" * (size // 2), content_encoding="gzip"),
    "a long type": lambda size: sent(b"{}", content_type="x" * size),
    "a long coding": lambda size: sent(b"{}", content_encoding="x" * size),
    "a long key header": lambda size: post(change("{}"), idempotency_key="x" * size),
    "parameters": lambda size: get("&".join(f"k{number}=1" for number in range(size // 8))),
    "a parameter many times": lambda size: get(filled("entityType=t", size, "&")),
    "ampersands": lambda size: get("&" * size),
    "percent signs": lambda size: get("entityId=" + "%41" * (size // 3)),
    "broken percent signs": lambda size: get("entityId=" + "%" * size),
    "a long number": lambda size: get("cursor=" + "1" * size),
    "a long wait": lambda size: get("wait=" + "1" * size),
    "accepted codings": lambda size: get(accept_encoding=filled("x;q=0.5", size)),
    "entity tags": lambda size: get(if_none_match=filled('W/"x"', size)),
    "a long origin": lambda size: get(origin="https://" + "x" * size),
    "a long request id": lambda size: get(x_request_id="x" * size),
    "requested headers": lambda size: Request(
        "OPTIONS",
        "/api/projects",
        "",
        {
            "origin": "https://a",
            "access-control-request-method": "GET",
            "access-control-request-headers": filled("x-a", size),
        },
        b"",
    ),
    "a long path": lambda size: Request("GET", "/api/projects/" + "x" * size + "/changes", "", {}, b""),
    "slashes": lambda size: Request("GET", "/" * size, "", {}, b""),
    "percent signs in the path": lambda size: Request("GET", "/api/projects/" + "%41" * (size // 3), "", {}, b""),
}
SIZE = 6_000
PER_KB = 80_000
"""The most instructions of Python for 1,000 bytes of a request."""
OVERHEAD = 40_000
"""The most that do not depend on the size."""


def work(call: Callable[[], Any]) -> int:
    """Return how many instructions of Python a call runs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.fixture
def api(tmp_path: Path) -> Any:
    with LocalStorageService(tmp_path / "log.db") as storage:
        yield Api(storage, cors=["https://a"])


@pytest.mark.parametrize("name", REQUESTS)
def test_the_work_is_in_proportion_to_the_bytes(api: Api, name: str) -> None:
    make = REQUESTS[name]
    api.handle(make(SIZE))  # imports, and what is computed once
    one, two, four = (work(lambda times=times: api.handle(make(times * SIZE))) for times in (1, 2, 4))  # type: ignore[misc]
    assert two <= 2.2 * one + OVERHEAD
    assert four <= 2.2 * two + OVERHEAD
    assert four <= OVERHEAD + PER_KB * 4 * SIZE / 1000, four


@pytest.mark.parametrize("name", BODIES)
def test_the_collector_does_not_run_while_a_body_is_parsed(name: str) -> None:
    """It would look at all values of the body again and again, which took most of the time of a large body."""
    body = BODIES[name](2 * LARGE_BODY).encode()
    runs: list[str] = []
    collected = lambda phase, info: runs.append(phase)  # noqa: E731
    gc.collect()
    gc.callbacks.append(collected)
    try:
        with suppress(InvalidBatch):
            parse_changes(body)
    finally:
        gc.callbacks.remove(collected)
    assert gc.isenabled()
    assert runs.count("start") <= 1, "at most one, after it"


@pytest.mark.parametrize("name", ["deep arrays", "objects", "integers", "keys", "flat arrays"])
def test_data_that_is_too_large_is_refused_before_it_is_read_strictly(api: Api, name: str) -> None:
    body = BODIES[name](MAX_BODY_BYTES * 2 // 3)
    responses = []
    count = work(lambda: responses.append(api.handle(post(body))))
    assert responses[0].status == 413
    assert b"bytes as stored; the limit is 409,600" in responses[0].content
    assert count < 2 * OVERHEAD, "no instruction for each value"
