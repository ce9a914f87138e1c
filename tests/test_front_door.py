"""The public names: what the front doors promise, and their signatures."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import aws_backend
import sltt_core

DOORS = (sltt_core, aws_backend)


def typed_names(door: ModuleType) -> dict[str, str]:
    """The names that a type checker sees, with the modules that they come from."""
    tree = ast.parse(Path(str(door.__file__)).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


@pytest.mark.parametrize("door", DOORS)
def test_every_list_of_a_front_door_names_the_same(door: ModuleType) -> None:
    rooms = {name: f"{door.__name__}.{room}" for room, names in door._ROOMS.items() for name in names.split()}
    assert typed_names(door) == rooms
    assert {*door.__all__} == rooms.keys()
    assert len(door.__all__) == len(set(door.__all__))
    assert dir(door) == sorted(door.__all__)


@pytest.mark.parametrize("door", DOORS)
def test_a_public_name_is_the_one_of_its_room(door: ModuleType) -> None:
    for room, names in door._ROOMS.items():
        module = importlib.import_module(f"{door.__name__}.{room}")
        for name in names.split():
            assert getattr(door, name) is getattr(module, name)


@pytest.mark.parametrize("door", DOORS)
def test_a_name_that_is_not_there_is_an_attribute_error(door: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{door.__name__}' has no attribute 'nothing'"):
        door.nothing  # noqa: B018


def test_a_front_door_loads_nothing_until_it_is_asked() -> None:
    program = "import sys; before = set(sys.modules); import sltt_core, aws_backend; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert set(run.stdout.split()) <= {"sltt_core", "aws_backend", "__future__"}
