"""DynamoDB's update expressions: `SET`, `REMOVE` and `ADD` (AWS, "Update expressions")."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any

from tests.dynamodb_model.expressions import Bindings, Expression, Operand, Path, Reader, resolve
from tests.dynamodb_model.values import NUMBERS, CannotUpdate, Item, Value, canonical, invalid, number


@lru_cache(4096)
def update(text: str) -> Expression:
    """Parse an update; `run(item, bindings)` returns the item after the update."""
    reader = Reader(text, "UpdateExpression")
    clauses: dict[str, list[tuple[Path, Operand | str | None]]] = {}
    while reader.peek():
        clause = reader.next().upper()
        if clause not in ("SET", "REMOVE", "ADD") or clause in clauses:
            raise reader.wrong(clause)
        actions = clauses.setdefault(clause, [])
        while True:
            path = reader.path()
            if clause == "SET":
                reader.expect("=")
                actions.append((path, _sum(reader)))
            else:
                actions.append((path, reader.value_name() if clause == "ADD" else None))
            if not reader.word(","):
                break
    paths = tuple(path for actions in clauses.values() for path, _ in actions)

    def run(old: Item, bindings: Bindings) -> Item:
        item = dict(old)
        # Every right-hand side is evaluated with the item before the update.
        computed = [(path, operand(old, bindings)) for path, operand in clauses.get("SET", ()) if callable(operand)]
        for path, value in computed:
            if value is None:
                raise CannotUpdate("The provided expression refers to an attribute that does not exist in the item")
            _assign(item, path, value, bindings)
        for path, _ in clauses.get("REMOVE", ()):
            _assign(item, path, None, bindings)
        for path, name in clauses.get("ADD", ()):
            assert isinstance(name, str)
            if bindings.values[name].keys() != {"N"}:
                raise invalid("Invalid UpdateExpression: Incorrect operand type for operator or function; ADD")
            before = resolve(old, path, bindings) or {"N": "0"}
            _assign(item, path, _plus(before, bindings.values[name], 1), bindings)
        return item

    return Expression(run, frozenset(reader.names), frozenset(reader.values), paths)


def check_overlap(paths: tuple[Path, ...], bindings: Bindings) -> None:
    """Check that no path of an update is equal to another or a part of it."""
    named = [tuple(bindings.name(step) if isinstance(step, str) else step for step in path) for path in paths]
    for place, path in enumerate(named):
        for other in named[place + 1 :]:
            short = min(len(path), len(other))
            if path[:short] == other[:short]:
                raise invalid("Invalid UpdateExpression: Two document paths overlap with each other")


def _sum(reader: Reader) -> Operand:
    found = _term(reader)
    for sign, factor in (("+", 1), ("-", -1)):
        if reader.word(sign):
            left, right = found, _term(reader)
            return lambda item, bindings: _plus(left(item, bindings), right(item, bindings), factor)
    return found


def _term(reader: Reader) -> Operand:
    if reader.peek() == "if_not_exists" and reader.tokens[reader.at + 1] == "(":
        reader.at += 2
        path = reader.path()
        reader.expect(",")
        other = _term(reader)
        reader.expect(")")

        def first_of(item: Item, bindings: Bindings) -> Value | None:
            value = resolve(item, path, bindings)
            return other(item, bindings) if value is None else value

        return first_of
    return reader.operand()


def _plus(left: Value | None, right: Value | None, factor: int) -> Value:
    if left is None or right is None:
        raise CannotUpdate("The provided expression refers to an attribute that does not exist in the item")
    if left.keys() != {"N"} or right.keys() != {"N"}:
        raise CannotUpdate("An operand in the update expression has an incorrect data type")
    total = NUMBERS.fma(number(right["N"]), Decimal(factor), number(left["N"]))
    return {"N": canonical(str(total))}


def _assign(item: Item, path: Path, value: Value | None, bindings: Bindings) -> None:
    """Set the value at a path, or remove it. Maps on the path are copied, because earlier versions share them."""
    into: dict[str, Any] = item
    for step in path[:-1]:
        if not isinstance(step, str) or not isinstance(path[-1], str):
            raise NotImplementedError("the model does not change lists")
        name = bindings.name(step)
        inner = into.get(name)
        if inner is None or "M" not in inner:
            raise CannotUpdate("The document path provided in the update expression is invalid for update")
        copied: dict[str, Any] = dict(inner["M"])
        into[name] = {"M": copied}
        into = copied
    last = path[-1]
    assert isinstance(last, str)
    if value is None:
        into.pop(bindings.name(last), None)
    else:
        into[bindings.name(last)] = value
