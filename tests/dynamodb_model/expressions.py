"""DynamoDB's expressions: conditions, updates and projections. Each is parsed once and evaluated often.

Grammar and meaning: AWS, "Condition expressions", "Update expressions", "Comparison operator and function reference".
What the storage does not use (`contains`, sets in `ADD` and `DELETE`, …) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from tests.dynamodb_model.values import (
    Item,
    Refused,
    Value,
    equal,
    invalid,
    rank,
    size_of,
)

Path = tuple[str | int, ...]
"""Attribute names (placeholders such as `#n` are not replaced yet) and list indexes."""
Operand = Callable[[Item, "Bindings"], Value | None]
Condition = Callable[[Item, "Bindings"], bool]

_TOKEN = re.compile(r"\s*(?:([A-Za-z_][A-Za-z0-9_]*|[#:][A-Za-z0-9_]+|[0-9]+)|(<=|>=|<>|[=<>(),.+\-\[\]]))")


class Bindings(NamedTuple):
    """The values of the placeholders in a request's expressions."""

    names: Mapping[str, str]
    values: Mapping[str, Value]

    def name(self, text: str) -> str:
        """Return the name of an attribute; replace a placeholder."""
        return self.names[text] if text[0] == "#" else text


class Expression(NamedTuple):
    """An expression, and the placeholders in it."""

    run: Any
    names: frozenset[str]
    values: frozenset[str]
    paths: tuple[Path, ...] = ()
    """The paths that an update changes, or that a projection keeps."""
    parts: tuple[tuple[str, Path, tuple[Any, ...]], ...] = ()
    """The comparisons of a key condition: operator, path, placeholders of values."""
    ordered: frozenset[str] = frozenset()
    """The placeholders of values that are operands of `<`, `<=`, `>`, `>=` or `BETWEEN`."""


def check_placeholders(expressions: list[Expression], bindings: Bindings) -> None:
    """Check that every placeholder is defined, and that every definition is used."""
    names = frozenset[str]().union(*(expression.names for expression in expressions))
    values = frozenset[str]().union(*(expression.values for expression in expressions))
    for what, used, given in (("names", names, bindings.names), ("values", values, bindings.values)):
        if used - given.keys():
            raise invalid(f"An expression attribute {what[:-1]} used in expression is not defined: {sorted(used)}")
        if given.keys() - used:
            raise invalid(f"Value provided in ExpressionAttribute{what.title()} unused in expressions")
    for expression in expressions:
        if any(rank(bindings.values[name]) is None for name in expression.ordered):
            raise invalid("Incorrect operand type for operator or function")


class Reader:
    """Parses one expression, token by token."""

    def __init__(self, text: str, what: str) -> None:
        self.what = what
        self.tokens: list[str] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise self.wrong(text[at:])
            self.tokens.append(match.group(1) or match.group(2))
            at = match.end()
        if not self.tokens:
            raise invalid(f"Invalid {what}: The expression can not be empty;")
        self.tokens.append("")
        self.at = 0
        self.names: set[str] = set()
        self.values: set[str] = set()
        self.ordered: set[str] = set()

    def wrong(self, near: str) -> Refused:
        return invalid(f"Invalid {self.what}: Syntax error; near: {near!r}")

    def peek(self) -> str:
        return self.tokens[self.at]

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def word(self, word: str) -> bool:
        """Consume a keyword or a sign if it is next; return whether it was."""
        if self.peek().upper() == word:
            self.at += 1
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.word(word):
            raise self.wrong(self.peek())

    def done(self) -> None:
        if self.peek():
            raise self.wrong(self.peek())

    def path(self) -> Path:
        found: list[str | int] = []
        while True:
            token = self.next()
            if not re.fullmatch("[#A-Za-z_][A-Za-z0-9_]*", token) or token == "#":
                raise self.wrong(token)
            if token[0] == "#":
                self.names.add(token)
            found.append(token)
            while self.word("["):
                found.append(int(self.next()))
                self.expect("]")
            if not self.word("."):
                return tuple(found)

    def value_name(self) -> str:
        token = self.next()
        if token[:1] != ":":
            raise self.wrong(token)
        self.values.add(token)
        return token

    def operand(self, ordered: bool = False) -> Operand:
        token = self.peek()
        if token[:1] == ":":
            name = self.value_name()
            if ordered:
                self.ordered.add(name)
            return lambda item, bindings: bindings.values[name]
        if token.lower() == "size" and self.tokens[self.at + 1] == "(":
            self.at += 2
            path = self.path()
            self.expect(")")
            return lambda item, bindings: _size(resolve(item, path, bindings))
        path = self.path()
        return lambda item, bindings: resolve(item, path, bindings)


def resolve(item: Item, path: Path, bindings: Bindings) -> Value | None:
    """Return the value at a path; `None` if there is none."""
    first = path[0]
    assert isinstance(first, str)
    value = item.get(bindings.name(first))
    for step in path[1:]:
        if value is None:
            return None
        if isinstance(step, str):
            value = value.get("M", {}).get(bindings.name(step))
        else:
            inner = value.get("L", [])
            value = inner[step] if step < len(inner) else None
    return value


def _size(value: Value | None) -> Value | None:
    if value is None:
        return None
    ((kind, held),) = value.items()
    return {"N": str(len(held))} if kind in ("M", "L", "SS", "NS", "BS") else {"N": str(size_of(value))}


def _is_equal(left: Value | None, right: Value | None) -> bool:
    return left is not None and right is not None and equal(left, right)


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Value | None, Value | None], bool]:
    def compare(left: Value | None, right: Value | None) -> bool:
        if left is None or right is None:
            return False
        one, other = rank(left), rank(right)
        return one is not None and other is not None and one[0] == other[0] and test(one[1], other[1])

    return compare


_COMPARE: dict[str, Callable[[Value | None, Value | None], bool]] = {
    "=": _is_equal,
    "<>": lambda left, right: not _is_equal(left, right),
    "<": _ordered(lambda left, right: bool(left < right)),
    "<=": _ordered(lambda left, right: bool(left <= right)),
    ">": _ordered(lambda left, right: bool(left > right)),
    ">=": _ordered(lambda left, right: bool(left >= right)),
}


def _or(reader: Reader) -> Condition:
    found = _and(reader)
    while reader.word("OR"):
        left, right = found, _and(reader)
        found = lambda item, bindings, left=left, right=right: left(item, bindings) or right(item, bindings)  # type: ignore[misc]  # noqa: E731
    return found


def _and(reader: Reader) -> Condition:
    found = _not(reader)
    while reader.word("AND"):
        left, right = found, _not(reader)
        found = lambda item, bindings, left=left, right=right: left(item, bindings) and right(item, bindings)  # type: ignore[misc]  # noqa: E731
    return found


def _not(reader: Reader) -> Condition:
    if reader.word("NOT"):
        inner = _not(reader)
        return lambda item, bindings: not inner(item, bindings)
    if reader.word("("):
        inner = _or(reader)
        reader.expect(")")
        return inner
    return _comparison(reader)


def _comparison(reader: Reader) -> Condition:
    word, following = reader.peek(), reader.tokens[reader.at + 1]
    if following == "(" and word != "size":
        reader.at += 2
        if word == "begins_with":
            path = reader.path()
            reader.expect(",")
            name = reader.value_name()
            reader.expect(")")
            return lambda item, bindings: _begins(resolve(item, path, bindings), bindings.values[name])
        if word not in ("attribute_exists", "attribute_not_exists"):
            raise invalid(f"Invalid {reader.what}: Invalid function name; function: {word}")
        path = reader.path()
        reader.expect(")")
        wanted = word == "attribute_exists"
        return lambda item, bindings: (resolve(item, path, bindings) is not None) is wanted
    left = reader.operand()
    if reader.word("BETWEEN"):
        low = reader.operand(ordered=True)
        reader.expect("AND")
        high = reader.operand(ordered=True)
        at_least, at_most = _COMPARE[">="], _COMPARE["<="]
        return lambda item, bindings: (
            at_least(left(item, bindings), low(item, bindings)) and at_most(left(item, bindings), high(item, bindings))
        )
    sign = reader.next()
    if sign not in _COMPARE:
        raise reader.wrong(sign)
    compare = _COMPARE[sign]
    right = reader.operand(ordered=sign not in ("=", "<>"))
    return lambda item, bindings: compare(left(item, bindings), right(item, bindings))


def _begins(value: Value | None, start: Value) -> bool:
    return value is not None and "S" in value and "S" in start and value["S"].startswith(start["S"])


@lru_cache(4096)
def condition(text: str, what: str = "ConditionExpression") -> Expression:
    """Parse a condition or a filter; `run(item, bindings)` returns whether it holds; a missing item is `{}`."""
    reader = Reader(text, what)
    found = _or(reader)
    reader.done()
    return Expression(found, frozenset(reader.names), frozenset(reader.values), ordered=frozenset(reader.ordered))


@lru_cache(4096)
def key_condition(text: str) -> Expression:
    """Parse a key condition: one or two comparisons of a key attribute, joined by AND; they are in `parts`."""
    reader = Reader(text, "KeyConditionExpression")
    parts: list[tuple[str, Path, tuple[Any, ...]]] = []
    while True:
        wrapped = reader.word("(")
        if reader.peek() == "begins_with":
            reader.at += 1
            reader.expect("(")
            path = reader.path()
            reader.expect(",")
            parts.append(("begins_with", path, (reader.value_name(),)))
            reader.expect(")")
        else:
            path = reader.path()
            if reader.word("BETWEEN"):
                low = reader.value_name()
                reader.expect("AND")
                parts.append(("BETWEEN", path, (low, reader.value_name())))
            else:
                sign = reader.next()
                if sign not in ("=", "<", "<=", ">", ">="):
                    raise reader.wrong(sign)
                parts.append((sign, path, (reader.value_name(),)))
        if wrapped:
            reader.expect(")")
        if not reader.word("AND"):
            break
    reader.done()
    return Expression(None, frozenset(reader.names), frozenset(reader.values), parts=tuple(parts))


@lru_cache(4096)
def projection(text: str) -> Expression:
    """Parse a projection; `run(item, bindings)` returns the part of the item that it keeps."""
    reader = Reader(text, "ProjectionExpression")
    paths = [reader.path()]
    while reader.word(","):
        paths.append(reader.path())
    reader.done()

    def keep(item: Item, bindings: Bindings) -> Item:
        kept: Item = {}
        for path in paths:
            value = resolve(item, path, bindings)
            if value is None:
                continue
            into: Any = kept
            for step in path[:-1]:
                assert isinstance(step, str)
                into = into.setdefault(bindings.name(step), {"M": {}})["M"]
            last = path[-1]
            assert isinstance(last, str)
            into[bindings.name(last)] = value
        return kept

    return Expression(keep, frozenset(reader.names), frozenset(reader.values), tuple(paths))
