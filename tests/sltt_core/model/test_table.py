"""Each hand-written writer and reader of a change agrees with the table of its fields."""

from __future__ import annotations

import inspect
import json
import sqlite3
from typing import Any

import pytest

from aws_backend.log.items import StoredChanges, change_item, change_of
from sltt_core.api.schemas import SCHEMAS
from sltt_core.log.batches import Chunk, number_changes
from sltt_core.log.pages import Head
from sltt_core.model.chain import GENESIS, link, link_of
from sltt_core.model.changes import Change, NewChange, item_size, parse_changes
from sltt_core.model.fields import CHECKS, COLUMNS, FIELDS, NEW_FIELDS, SHOWN_FIELDS, WIRE_NAMES, Field
from sltt_core.sqlite.schema import SCHEMA
from tests.sltt_core.model.test_chain import link_by_the_book
from tests.sltt_core.samples import NOW

VALUES: dict[str, Any] = {"integer": 7, "text": 'a "text" é', "json": '{"a":1.0}'}
ASCII = {"project_id": "ruth", "entity_type": "note", "operation": "update", "chain": "x" * 22, "outdated_by": 9}
ASCII["request_key"] = f"{'k' * 16} 0 0 1 {'f' * 64}"
TIMES = {"timestamp": "2025-03-01T09:30:00Z", "cloud_at": "2025-03-01T09:31:00Z"}
OPTIONAL = tuple(field for field in FIELDS if field.optional)


def value_of(field: Field) -> Any:
    """A value that a change may have in the field."""
    return {**ASCII, **TIMES}.get(field.name, VALUES[field.type])


def stored(without: str = "") -> Change:
    return Change.of(None if field.name == without else value_of(field) for field in FIELDS)


EVERY = [pytest.param(stored(), id="all")]
EVERY += [pytest.param(stored(field.name), id=f"without {field.name}") for field in OPTIONAL]


def present(change: Change) -> dict[Field, Any]:
    pairs = zip(FIELDS, change.as_tuple(), strict=True)
    return {field: value for field, value in pairs if value is not None}


# The records.


def test_a_change_has_the_fields_of_the_table() -> None:
    assert Change.fields == tuple(field.name for field in FIELDS)
    optional = {name for name, kind in Change.__annotations__.items() if kind.endswith("| None")}
    assert optional == {field.name for field in OPTIONAL}
    kinds = {name: kind.removesuffix(" | None") for name, kind in Change.__annotations__.items()}
    assert kinds == {field.name: "int" if field.type == "integer" else "str" for field in FIELDS}


def test_a_new_change_has_the_fields_with_a_position() -> None:
    assert [field.position for field in NEW_FIELDS] == list(range(len(NEW_FIELDS)))
    names = [field.name if field.name in NewChange.fields else field.parameter for field in NEW_FIELDS]
    assert NewChange.fields == tuple(names)
    parameters = inspect.signature(NewChange).parameters
    assert set(parameters) == {field.parameter or field.name for field in NEW_FIELDS}
    required = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    assert required == {field.parameter or field.name for field in NEW_FIELDS if field.required}


def test_each_parameter_of_a_new_change_lands_in_its_own_field() -> None:
    given = {field.parameter or field.name: value_of(field) for field in NEW_FIELDS}
    new = NewChange(**given)
    assert new.as_tuple() == tuple(given.values())
    (sent,) = parse_changes(
        json.dumps({field.wire: value_of(field) for field in NEW_FIELDS if field.type != "json"}).encode()[:-1]
        + b', "data": {"a":1.0}}'
    )
    assert sent == new


def test_every_field_that_a_client_may_send_has_a_check() -> None:
    assert {field.wire for field in NEW_FIELDS} <= set(CHECKS)
    assert set(CHECKS) == {name for field in FIELDS if field.check for name in (field.wire, field.alias) if name}


def test_the_names_of_fields_are_unique() -> None:
    for attribute, fields in (("name", FIELDS), ("wire", SHOWN_FIELDS), ("attribute", FIELDS)):
        names = [getattr(field, attribute) for field in fields]
        assert len(set(names)) == len(names)
    assert set(WIRE_NAMES.values()) == {field.wire for field in SHOWN_FIELDS}


# The hash.


@pytest.mark.parametrize("change", EVERY)
def test_the_link_covers_the_hashed_fields_in_order(change: Change) -> None:
    hashed = [value for field, value in zip(FIELDS, change.as_tuple(), strict=True) if field.hashed]
    expected = link_by_the_book(GENESIS, *(None if value is None else str(value) for value in hashed))
    assert link_of(GENESIS, change) == expected
    assert list(inspect.signature(link).parameters) == ["previous", *(field.name for field in FIELDS if field.hashed)]


# The log, the item, the JSON.


def test_the_log_keeps_each_field_of_a_new_change() -> None:
    new = NewChange.of(value_of(field) for field in NEW_FIELDS)
    (change,) = number_changes(Chunk("ruth", "a" * 16, 2, 98, "f" * 64, (new,), 0), Head(6, GENESIS), NOW)
    given = {field.name: value_of(field) for field in NEW_FIELDS}
    own = {"seq": 7, "cloud_at": NOW, "outdated_by": None, "chain": change.chain}
    own["request_key"] = f"{'a' * 16} 2 98 1 {'f' * 64}"
    assert change == Change.of({**given, **own}[field.name] for field in FIELDS)


@pytest.mark.parametrize("change", EVERY)
def test_the_json_has_each_field_under_its_name_and_in_order(change: Change) -> None:
    expected = {
        field.wire: json.loads(value) if field.type == "json" else value
        for field, value in present(change).items()
        if field.wire
    }
    assert list(json.loads(change.to_json()).items()) == list(expected.items())


@pytest.mark.parametrize("change", EVERY)
def test_the_item_has_each_field_under_its_attribute(change: Change) -> None:
    item = change_item(change)
    assert item == {
        field.attribute: {"N": str(value)} if field.type == "integer" else {"S": value}
        for field, value in present(change).items()
    }
    assert change_of(item) == change
    assert StoredChanges([item]).to_json() == change.to_json()


@pytest.mark.parametrize("field", [field for field in FIELDS if field.sized], ids=lambda field: field.name)
def test_a_sized_field_counts_in_the_size_of_an_item(field: Field) -> None:
    change = stored()
    longer = change.replace(**{field.name: value_of(field) + "ab"})
    assert item_size(longer) == item_size(change) + 2


def test_other_fields_do_not_count_in_the_size_of_an_item() -> None:
    change = stored()
    others = {field.name: value_of(field) + "ab" for field in FIELDS if field.type == "text" and not field.sized}
    assert item_size(change.replace(**others)) == item_size(change)


# The file, the documentation.


def test_the_table_of_sqlite_has_a_column_for_each_field_but_the_key() -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    columns = connection.execute("SELECT name, type, \"notnull\" FROM pragma_table_info('changes')").fetchall()
    fields = [field for field in FIELDS if field.name not in ("project_id", "seq")]
    assert tuple(field.name for field in fields) == COLUMNS
    assert columns == [
        ("id", "INTEGER", 0),
        *((field.name, "INTEGER" if field.type == "integer" else "TEXT", int(not field.optional)) for field in fields),
    ]
    shown = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info('change_log')")]
    assert shown == [field.wire for field in SHOWN_FIELDS]
    connection.close()


def test_the_schemas_of_the_api_have_the_fields() -> None:
    change, new = SCHEMAS["Change"], SCHEMAS["NewChange"]
    assert list(change["properties"]) == [field.wire for field in SHOWN_FIELDS]
    assert change["required"] == [field.wire for field in SHOWN_FIELDS if not field.optional]
    assert set(new["properties"]) == set(CHECKS)
    assert new["required"] == [field.wire for field in NEW_FIELDS if field.required]
    kinds = {"integer": "integer", "text": "string", "json": "object"}
    assert {name: schema["type"] for name, schema in change["properties"].items()} == {
        field.wire: kinds[field.type] for field in SHOWN_FIELDS
    }
