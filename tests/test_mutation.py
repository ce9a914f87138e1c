"""The configuration of `make mutate`: its modules and tests exist, and docs/mutation.md has a row for each module."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from scripts.mutate import ROOT, settings
from tests.docs.documents import rows, section

SETTINGS = settings()


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("module", SETTINGS.modules)
def test_a_module_and_its_tests_exist(module: str) -> None:
    assert (ROOT / "src" / module).is_file()
    assert SETTINGS.modules[module]
    for test in SETTINGS.modules[module]:
        assert any(name.startswith("test_") for name in functions(test)), f"{test} has no tests"


def test_no_two_modules_have_the_same_name() -> None:
    assert len({module.rpartition("/")[2] for module in SETTINGS.modules}) == len(SETTINGS.modules)


@pytest.mark.parametrize("test", SETTINGS.deselect)
def test_a_test_that_is_left_out_exists(test: str) -> None:
    path, name = test.split("::")
    assert any(path in tests for tests in SETTINGS.modules.values())
    assert name in functions(path)


def test_every_module_has_a_score_in_the_document() -> None:
    found = [name.strip("`") for name, *_ in rows(section("docs/mutation.md", "## Scores"))[1:]]
    assert found == list(SETTINGS.modules)


def test_an_unknown_module_is_an_error_that_lists_the_modules() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.mutate", "no-such-module"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2
    assert "there is no module 'no-such-module'; the modules are json_reader, " in done.stderr
    assert "Traceback" not in done.stderr
