from __future__ import annotations

from collections import OrderedDict, UserDict
from enum import IntEnum
from typing import Any

import pytest

from sltt_core.base.json_reader import JsonProblem
from sltt_core.base.json_writer import NotJson, write


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": [1, 1.5, None, True], "a": "é\n"}, '{"b":[1,1.5,null,true],"a":"é\\n"}'),
        (UserDict(a=OrderedDict(b=())), '{"a":{"b":[]}}'),
        ({"level": Level.HIGH}, '{"level":3}'),
        ("x", '"x"'),
        ({}, "{}"),
    ],
)
def test_what_json_has_is_written_compactly(value: object, text: str) -> None:
    assert write(value) == text


def test_what_json_does_not_have_is_refused_with_its_path() -> None:
    with pytest.raises(NotJson, match="a complex is not a JSON value") as caught:
        write({"a": [0, {"b": 1j}]})
    assert caught.value.path == ".a[1].b"


def test_a_value_that_holds_itself_is_refused_at_once() -> None:
    value: list[Any] = []
    value += [value, value]
    with pytest.raises(JsonProblem, match="cannot be written as JSON: a value holds itself"):
        write({"a": value})


class Broken(UserDict[str, int]):
    def __iter__(self) -> Any:
        raise ValueError("no keys today")


def test_a_mapping_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(JsonProblem, match="cannot be written as JSON: no keys today"):
        write(Broken(a=1))
