"""Parses documents: fenced blocks and the output they show, table rows, links."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
LINK = r"(?<![\w-])[\w-]{22}(?![\w-])"
VOLATILE = {
    "time": TIME,
    "date": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
    "link": LINK,
    "request": r"(?<![\w-])[0-9a-f]{16}(?![\w-])",
    "tag": r"(?<=W/\")[0-9a-f]{24}(?=\")",
}
"""The parts of an output that differ between runs."""


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str
    line: int
    """The line of its fence, from 1."""
    shows: bool
    """Whether it directly follows another block, whose output it shows."""


def documents() -> list[str]:
    """Every document, as a path from the root."""
    found = [
        *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    return [path.relative_to(ROOT).as_posix() for path in found]


@cache
def read(document: str) -> str:
    """A document's text."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found: list[Block] = []
    lines = read(document).splitlines()
    after_block = False
    at = 0
    while at < len(lines):
        if lines[at].startswith("```"):
            end = lines.index("```", at + 1)
            language = lines[at].removeprefix("```")
            found.append(Block(language, "\n".join(lines[at + 1 : end]) + "\n", at + 1, after_block))
            after_block = True
            at = end
        elif lines[at].strip():
            after_block = False
        at += 1
    return found


def prose(document: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", read(document), flags=re.MULTILINE | re.DOTALL)


def section(document: str, heading: str) -> str:
    """The text below a heading, up to the next heading of its level or above."""
    level = heading.split(" ")[0]
    _, found, rest = read(document).partition(f"\n{heading}\n")
    assert found, f"{document} has no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row in a text."""
    lines = (line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|-: "))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def anchors(document: str) -> set[str]:
    """The fragments of links to the document's headings, as GitHub generates them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", read(document), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def output_pattern(shown: str, *, any_numbers: bool = False) -> re.Pattern[str]:
    """What an output must look like that a document shows.

    Times, links and the width of white space may differ, numbers if `any_numbers`; a line `…` stands for any lines.
    """
    kinds = VOLATILE | ({"number": r"\d[\d,.]*"} if any_numbers else {})
    volatile = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()))
    parts = []
    for line in shown.splitlines():
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?[^\S\n]*")
            continue
        at = 0
        for match in volatile.finditer(line.strip()):
            parts += [_escape(line.strip()[at : match.start()]), f"(?:{kinds[str(match.lastgroup)]})"]
            at = match.end()
        parts.append(_escape(line.strip()[at:]) + r"[^\S\n]*\n[^\S\n]*")
    return re.compile(r"\s*" + "".join(parts))


def _escape(text: str) -> str:
    return r"[^\S\n]+".join(map(re.escape, re.split(r"\s+", text)))


def parse_json(text: str) -> Any:
    """Parse JSON, every number as its own text, so that 1.10 is not 1.1."""
    return json.loads(text, parse_float=_Number, parse_int=_Number)


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def differences(shown: Any, real: Any, path: str = "$") -> list[str]:
    """Where an answer is not as shown.

    Links, ids and durations (`ms`, and `waited` unless it is 0) may differ, and times when the real one is the present.
    """
    if type(shown) is not type(real):
        return [f"{path}: shown is {shown!r}, real is {real!r}"]
    if isinstance(shown, dict):
        if shown.keys() != real.keys():
            return [f"{path}: shown are {list(shown)}, real are {list(real)}"]
        return [found for key in shown for found in differences(shown[key], real[key], f"{path}.{key}")]
    if isinstance(shown, list):
        if len(shown) != len(real):
            return [f"{path}: shown are {len(shown)}, real are {len(real)}"]
        pairs = zip(shown, real, strict=True)
        return [found for at, pair in enumerate(pairs) for found in differences(*pair, path=f"{path}[{at}]")]
    if (
        shown == real
        or path.endswith(".ms")
        or _both_waited(path, shown, real)
        or (isinstance(shown, str) and _same_but_volatile(shown, real))
    ):
        return []
    return [f"{path}: shown is {shown!r}, real is {real!r}"]


def _both_waited(path: str, shown: Any, real: Any) -> bool:
    return path.endswith(".waited") and (shown != "0") is (real != "0")


def _same_but_volatile(shown: str, real: str) -> bool:
    if re.fullmatch(TIME, shown) and re.fullmatch(TIME, real):
        return abs(datetime.fromisoformat(real) - datetime.now(UTC)) < timedelta(minutes=10)
    for kind in ("link", "request"):
        shown, real = (re.sub(VOLATILE[kind], kind, text) for text in (shown, real))
    return shown == real
