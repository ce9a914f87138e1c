"""A new change whose fields come from Python: their checks, and their names as parameters of `NewChange`.

A Lambda function gets its changes as JSON and does not load this module.
"""

from __future__ import annotations

from sltt_core.base.errors import InvalidBatch, Problem
from sltt_core.base.json_reader import JsonProblem, read
from sltt_core.base.json_writer import NotJson, write
from sltt_core.model.drafts import Draft
from sltt_core.model.fields import NEW_FIELDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PARAMETERS = {field.wire: field.parameter or field.name for field in NEW_FIELDS}
"""The parameters of `NewChange` in the order of `NEW_FIELDS`, by the wire names of the fields."""


def check_parameters(given: Sequence[object]) -> tuple[Any, ...]:
    """Check the parameters of `NewChange`, in the order of `PARAMETERS`, and return the values of its fields.

    Raises `InvalidBatch` with all problems.
    """
    problems: list[Problem] = []
    draft = Draft(0, "change", problems, PARAMETERS)
    values = dict(zip(PARAMETERS, given, strict=True))
    data = values.pop("data")
    if data is not None:
        _take_data(draft, data)
    for name, value in values.items():
        if value is not None:
            draft.take(name, value)
    checked = draft.finish()
    if problems:
        raise InvalidBatch(problems)
    return checked


def _take_data(draft: Draft, data: object) -> None:
    """Check `data`, a mapping or JSON text."""
    draft.seen.add("data")
    try:
        text = data if isinstance(data, str) else write(data)
        text.encode()
        if type(read(text)) is not dict:
            raise JsonProblem("is not a JSON object")
        draft.data_json = text.strip()
    except UnicodeEncodeError:
        draft.fault("data", "contains half of a surrogate pair")
    except NotJson as error:
        draft.fault("data", error.reason, inside=error.path)
    except JsonProblem as error:
        draft.fault("data", str(error))
