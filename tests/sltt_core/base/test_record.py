from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
from typing import Any

import pytest

from sltt_core.base.record import Record


class Point(Record):
    x: int
    y: int = 0
    name: str | None = None

    @property
    def sum(self) -> int:
        return self.x + self.y


class Other(Record):
    x: int
    y: int = 0
    name: str | None = None


def test_the_fields_are_in_the_order_of_the_annotations() -> None:
    assert Point.fields == ("x", "y", "name")


@pytest.mark.parametrize(
    ("args", "kwargs", "values"),
    [
        ((1,), {}, (1, 0, None)),
        ((1, 2), {}, (1, 2, None)),
        ((1, 2, "a"), {}, (1, 2, "a")),
        ((1,), {"name": "a"}, (1, 0, "a")),
        ((), {"name": "a", "x": 1}, (1, 0, "a")),
        ((1,), {"y": None}, (1, None, None)),
    ],
)
def test_arguments_are_bound_as_a_dataclass_binds_them(
    args: tuple[Any, ...], kwargs: dict[str, Any], values: tuple[Any, ...]
) -> None:
    point = Point(*args, **kwargs)
    assert (point.x, point.y, point.name) == values
    assert point.as_tuple() == values
    assert type(point.as_tuple()) is tuple


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((), {}, "needs 'x'"),
        ((), {"y": 1}, "needs 'x'"),
        ((1, 2, "a", 4), {}, "has 3 fields, but 4 values were given"),
        ((1,), {"x": 2}, "no field 'x' to set"),
        ((1,), {"z": 2}, "no field 'z' to set"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(args: tuple[Any, ...], kwargs: dict[str, Any], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        Point(*args, **kwargs)


def test_of_accepts_all_values_in_order() -> None:
    assert Point.of(iter((1, 2, "a"))) == Point(1, 2, "a")
    assert type(Point.of((1, 2, "a"))) is Point


def test_a_record_may_have_properties() -> None:
    assert Point(1, 2).sum == 3


def test_replace_returns_a_copy() -> None:
    point = Point(1, 2, "a")
    assert point.replace(y=5) == Point(1, 5, "a")
    assert point == Point(1, 2, "a")
    assert type(point.replace()) is Point
    with pytest.raises(TypeError, match="no field 'z'"):
        point.replace(z=1)


def test_records_of_one_class_with_equal_fields_are_equal() -> None:
    assert Point(1, 2) == Point(1, 2)
    assert not Point(1, 2) != Point(1, 2)  # noqa: SIM202  # `!=` has code of its own
    assert Point(1, 2) != Point(1, 3)
    others: list[object] = [Other(1, 2), (1, 2, None), [1, 2, None], None]
    for other in others:
        assert Point(1, 2) != other
        assert other != Point(1, 2)
        assert not Point(1, 2) == other  # noqa: SIM201


def test_equal_records_have_equal_hashes() -> None:
    assert len({Point(1, 2), Point(1, 2), Point(2, 1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point.of(([], 0, None)))


@pytest.mark.parametrize("name", ["x", "name", "new", "sum", "fields"])
def test_no_attribute_can_be_set_or_deleted(name: str) -> None:
    point = Point(1, 2, "a")
    with pytest.raises(AttributeError, match=name):
        setattr(point, name, 5)
    with pytest.raises(AttributeError, match=name):
        delattr(point, name)
    assert point == Point(1, 2, "a")


def test_repr_is_a_valid_expression() -> None:
    assert repr(Point(1, name="a'b")) == 'Point(x=1, y=0, name="a\'b")'


def test_it_can_be_copied_and_pickled() -> None:
    point = Point(1, 2, "a")
    for twin in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert twin == point
        assert type(twin) is Point


class Built(Record, init=False):
    x: int

    def __new__(cls, *, text: str) -> Built:
        return cls.of((len(text),))


def test_the_signature_shows_the_fields_or_the_constructor() -> None:
    assert str(inspect.signature(Point)) == "(x: 'int', y: 'int' = 0, name: 'str | None' = None)"
    assert str(inspect.signature(Built)) == "(*, text: 'str')"
    assert Built(text="abc").x == 3


def test_the_help_of_a_record_names_the_type_of_each_field() -> None:
    text = pydoc.plain(pydoc.render_doc(Point))
    assert "class Point(sltt_core.base.record.Record)\n |  Point(x: 'int', y: 'int' = 0" in text
    assert " |  name\n |      str | None\n" in text
    assert "itemgetter" not in text
