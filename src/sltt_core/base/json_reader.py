"""A strict JSON reader (RFC 8259) that keeps the text of what it need not understand.

The standard library's C scanner does the work. This module adds what it lets pass (`NaN`, numbers that
overflow a double, duplicate keys, lone surrogates, any depth), and tells where each value stands in the text,
so that a change's `data` is stored as the client wrote it.
"""

from __future__ import annotations

from json import JSONDecodeError
from json.decoder import JSONDecoder
from json.encoder import encode_basestring as quote

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

__all__ = [
    "MAX_DEPTH",
    "JsonProblem",
    "LongInteger",
    "Reader",
    "check_value",
    "decode_utf8",
    "quote",
    "read",
    "whole_number",
]

MAX_DEPTH = 64
"""How deep objects and arrays may nest, the outermost counted."""


class JsonProblem(ValueError):
    """The text is not JSON, or JSON that this project refuses; the message says why and where."""


class LongInteger(Record):
    """An integer of more than 40 digits: its text, which is no string of the JSON."""

    text: str


def _refuse_constant(name: str) -> NoReturn:
    raise JsonProblem(f"{name} is not JSON")


def _check_float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:  # only an infinity, from digits
        raise JsonProblem(f"the number {_clip(text)} is too large for a double")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise JsonProblem(f"the key {quote(_clip(name))} appears twice in one object")
            seen.add(name)
    return members


def _digits(text: str) -> int | LongInteger:
    # int() is quadratic, and limited to 4,300 digits (CVE-2020-10735): nothing needs a longer one's value.
    return int(text) if len(text) <= 40 else LongInteger(text)


def _scanner(**hooks: Any) -> Any:
    """Return the C scanner of a decoder: a function of text and place that gives value and end."""
    return JSONDecoder(**hooks).scan_once  # type: ignore[attr-defined]


_strict = _scanner(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_check_float, parse_int=_digits
)
_lenient = _scanner(parse_constant=lambda _: None, parse_int=lambda _: 0, parse_float=lambda _: 0.0)


def whole_number(digits: str) -> int:
    """Return an integer of any size, also one of more digits than `int` takes at once (4,300)."""
    if len(digits) <= 4_000:
        return int(digits)
    sign = -1 if digits[0] == "-" else 1
    middle = len(digits) // 2
    tail = digits[middle:]
    shift: int = 10 ** len(tail)
    return sign * (abs(whole_number(digits[:middle])) * shift + whole_number(tail))


def read(text: str) -> Any:
    """Read a whole text as one value, under all the rules; raises `JsonProblem`."""
    reader = Reader(text)
    value = reader.value()
    reader.finish()
    return value


def decode_utf8(body: bytes) -> str:
    """Decode a body, strictly: no byte order mark, no overlong form, no surrogate (RFC 8259, section 8.1)."""
    if body.startswith(b"\xef\xbb\xbf"):
        raise JsonProblem("the text begins with a byte order mark")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise JsonProblem(f"byte {error.start} is not UTF-8") from None


class Reader:
    """A place in a JSON text, moved on value by value by whoever knows what should come.

    `elements` and `members` are loops whose body must read (`value`) or pass over (`skip`) each value
    before the next turn. Everything raises `JsonProblem`, and a failed `value` leaves the place where it was.
    """

    __slots__ = ("at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip_space()

    def peek(self) -> str:
        """Return the next character, or `""` at the end."""
        return self.text[self.at : self.at + 1]

    def value(self) -> Any:
        """Read the value that begins here. An integer of more than 40 digits is a `LongInteger`."""
        start = self.at
        value, end = self._scan(_strict)
        check_value(self.text[start:end], value)
        self.at = end
        return value

    def skip(self) -> None:
        """Pass over the value that begins here: well formed, though it may break the stricter rules."""
        self.at = self._scan(_lenient)[1]

    def elements(self) -> Iterator[int]:
        """Step through the array that begins here: yield each index, the place being its value's."""
        self._take("[")
        index = 0
        if self.peek() != "]":
            while True:
                yield index
                index += 1
                self._skip_space()
                if self.peek() != ",":
                    break
                self._take(",")
        self._take("]", "',' or ']'")

    def members(self) -> Iterator[str]:
        """Step through the object that begins here: yield each name, the place being its value's.

        A name that appears twice is yielded twice.
        """
        self._take("{")
        if self.peek() != "}":
            while True:
                if self.peek() != '"':
                    self._fail("a key in double quotes")
                name = self.value()
                self._skip_space()
                self._take(":")
                yield name
                self._skip_space()
                if self.peek() != ",":
                    break
                self._take(",")
        self._take("}", "',' or '}'")

    def finish(self) -> None:
        """Raise unless only white space is left."""
        self._skip_space()
        if self.at != len(self.text):
            self._fail("the end of the text")

    def _scan(self, scanner: Any) -> tuple[Any, int]:
        try:
            scanned: tuple[Any, int] = scanner(self.text, self.at)
        except StopIteration as stop:
            raise JsonProblem(f"expected a value at {where(self.text, stop.value)}") from None
        except JSONDecodeError as error:
            reason = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
            raise JsonProblem(f"{reason} at {where(self.text, error.pos)}") from None
        except RecursionError:
            raise JsonProblem(f"nested deeper than {MAX_DEPTH} levels") from None
        return scanned

    def _skip_space(self) -> None:
        text, at, end = self.text, self.at, len(self.text)
        while at < end and text[at] in " \t\n\r":
            at += 1
        self.at = at

    def _take(self, character: str, wanted: str = "") -> None:
        if self.peek() != character:
            self._fail(wanted or f"'{character}'")
        self.at += 1
        self._skip_space()

    def _fail(self, wanted: str) -> NoReturn:
        raise JsonProblem(f"expected {wanted} at {where(self.text, self.at)}")


def check_value(text: str, value: object) -> None:
    """Check what the scanner cannot: depth and lone surrogates, of a value and the text it was read from.

    Both are looked for only where the text makes them possible, so the usual value costs two counts.
    """
    if text.count("{") + text.count("[") > MAX_DEPTH and depth(text) > MAX_DEPTH:
        raise JsonProblem(f"nested deeper than {MAX_DEPTH} levels")
    if ("\\ud" in text or "\\uD" in text) and has_lone_surrogate(value):
        raise JsonProblem("a string holds half of a surrogate pair, which is no character")


def depth(text: str) -> int:
    """Return how deep the objects and arrays of well-formed JSON nest."""
    deepest = level = 0
    at, end = 0, len(text)
    while at < end:
        character = text[at]
        if character == '"':
            at += 1
            while (character := text[at]) != '"':
                at += 2 if character == "\\" else 1
        elif character in "{[":
            level += 1
            deepest = max(deepest, level)
        elif character in "}]":
            level -= 1
        at += 1
    return deepest


def has_lone_surrogate(value: object) -> bool:
    """Tell whether a string anywhere in a parsed value holds a code point that UTF-8 cannot carry."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                return True
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False


def where(text: str, at: int) -> str:
    """Name a place for a person: `line 2, column 7`, or the end."""
    if at >= len(text):
        return "the end of the text"
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def _clip(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
