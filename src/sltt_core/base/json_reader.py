"""A strict JSON reader (RFC 8259) that knows the place of each value in the text.

The standard library's C scanner parses. This module refuses what the scanner accepts: `NaN`, numbers that overflow a
double, duplicate keys, lone surrogates and any depth. With the places of values, a change's `data` is stored verbatim.
"""

from __future__ import annotations

from sltt_core.base.c_json import encoder, quote, scanner
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
    "is_object",
    "quote",
    "read",
    "whole_number",
]

MAX_DEPTH = 64
"""The number of nested objects and arrays, including the outermost."""


class JsonProblem(ValueError):
    """The text is not JSON, or JSON that this project refuses; the message contains the reason and the place."""


class LongInteger(Record):
    """An integer of more than 40 digits, as its text. It is not a `str`, so that it differs from a JSON string."""

    text: str


def _refuse_constant(name: str) -> NoReturn:
    raise JsonProblem(f"{name} is not JSON")


def _check_float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:  # only for an infinity: digits never give NaN
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
    # int() takes quadratic time and at most 4,300 digits (CVE-2020-10735); the value of a longer one is not needed.
    return int(text) if len(text) <= 40 else LongInteger(text)


_strict = scanner(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_check_float, parse_int=_digits
)
_SPACE = " \t\n\r"
_syntax = scanner(parse_constant=_refuse_constant, parse_int=len, parse_float=len)
_lenient = scanner(parse_constant=len, parse_int=len, parse_float=len)


def whole_number(digits: str) -> int:
    """Parse an integer of any size, also of more digits than `int` accepts (4,300)."""
    if len(digits) <= 4_000:
        return int(digits)
    sign = -1 if digits[0] == "-" else 1
    middle = len(digits) // 2
    tail = digits[middle:]
    shift: int = 10 ** len(tail)
    return sign * (abs(whole_number(digits[:middle])) * shift + whole_number(tail))


def read(text: str) -> Any:
    """Parse a whole text as one value, under all rules; raises `JsonProblem`."""
    reader = Reader(text)
    value = reader.value()
    reader.finish()
    return value


def is_object(text: str) -> bool:
    """Return whether a text is one JSON object, without white space around it. Only the syntax is checked, in C."""
    try:
        return text[:1] == "{" and _syntax(text, 0)[1] == len(text)
    except (StopIteration, ValueError, RecursionError):
        return False


def decode_utf8(body: bytes) -> str:
    """Decode UTF-8 strictly (RFC 8259, section 8.1).

    Raises `JsonProblem` for a byte order mark, an overlong form, a surrogate and any other invalid byte.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        raise JsonProblem("the text begins with a byte order mark")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise JsonProblem(f"byte {error.start} is not UTF-8") from None


class Reader:
    """A place in a JSON text. The caller, who knows the expected structure, advances it value by value.

    The body of a loop over `elements` or `members` must read (`value`) or skip (`skip`) each value before the next
    iteration. All methods raise `JsonProblem`. A failed `value` does not change the place.
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
        """Return the value that begins here. An integer of more than 40 digits is a `LongInteger`."""
        start = self.at
        value, end = self._scan(_strict)
        check_value(self.text[start:end], value)
        self.at = end
        return value

    def skip(self) -> None:
        """Skip the value that begins here: it must be well formed, but may break the stricter rules."""
        self.at = self._scan(_lenient)[1]

    def skip_longer(self, limit: int) -> str | None:
        """Skip the value that begins here and return its text if it has more than `limit` characters."""
        start = self.at
        if len(self.text) - start <= limit:
            return None
        end = self._scan(_lenient)[1]
        if end - start <= limit:
            return None
        self.at = end
        return self.text[start:end]

    def elements(self) -> Iterator[int]:
        """Yield the index of each element of the array that begins here, with the place at its value."""
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
        """Yield the name of each member of the object that begins here, with the place at its value.

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
        """Raise `JsonProblem` unless only white space is left."""
        self._skip_space()
        if self.at != len(self.text):
            self._fail("the end of the text")

    def _scan(self, scanner: Any) -> tuple[Any, int]:
        try:
            scanned: tuple[Any, int] = scanner(self.text, self.at)
        except StopIteration as stop:
            raise JsonProblem(f"expected a value at {where(self.text, stop.value)}") from None
        except JsonProblem:
            raise
        except ValueError as error:
            from json import JSONDecodeError  # the scanner has loaded it

            if not isinstance(error, JSONDecodeError):
                raise
            reason = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
            raise JsonProblem(f"{reason} at {where(self.text, error.pos)}") from None
        except RecursionError:
            raise JsonProblem(f"nested deeper than {MAX_DEPTH} levels") from None
        return scanned

    def _skip_space(self) -> None:
        text, at, width = self.text, self.at, 16
        while text[at : at + 1] in _SPACE and at < len(text):
            window = text[at : at + width]
            at += len(window) - len(window.lstrip(_SPACE))
            width *= 2
        self.at = at

    def _take(self, character: str, wanted: str = "") -> None:
        if self.peek() != character:
            self._fail(wanted or f"'{character}'")
        self.at += 1
        self._skip_space()

    def _fail(self, wanted: str) -> NoReturn:
        raise JsonProblem(f"expected {wanted} at {where(self.text, self.at)}")


def check_value(text: str, value: object) -> None:
    """Check the depth of a value and its strings for lone surrogates; raises `JsonProblem`.

    `text` is the text of the value. The checks run only when the text makes an error possible, so the usual value costs
    two counts.
    """
    if text.count("{") + text.count("[") > MAX_DEPTH and is_deeper(text, MAX_DEPTH):
        raise JsonProblem(f"nested deeper than {MAX_DEPTH} levels")
    if ("\\ud" in text or "\\uD" in text) and has_lone_surrogate(value):
        raise JsonProblem("a string contains half of a surrogate pair, which is not a character")


def is_deeper(text: str, levels: int) -> bool:
    """Return whether objects and arrays of well-formed JSON are nested deeper than `levels`.

    No step of Python's own looks at a character: the work is `levels` passes in C at most.
    """
    # In JSON, only strings contain backslashes. Without escapes, every second part between quotes is outside of them.
    outside = text.replace("\\\\", "").replace('\\"', "").split('"')[::2]
    brackets = "".join(outside).encode("utf-8", "replace").translate(_BRACKETS, _OTHERS)
    for _ in range(levels):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")  # the innermost level
    return bool(brackets)


_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(octet for octet in range(256) if octet not in b"{}[]")


def has_lone_surrogate(value: object) -> bool:
    """Return whether a string anywhere in a parsed value contains a code point that UTF-8 cannot encode."""
    try:
        "".join(_writer(value, 0)).encode()
    except UnicodeEncodeError:
        return True
    return False


_writer = encoder(allow_nan=True)


def where(text: str, at: int) -> str:
    """Return a place in words: `line 2, column 7`, or `the end of the text`."""
    if at >= len(text):
        return "the end of the text"
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def _clip(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
