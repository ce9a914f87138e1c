"""The local DynamoDB engines: where they are found, and what happens if one cannot run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts import engines
from tests import conftest

if TYPE_CHECKING:
    from pathlib import Path


def test_a_running_engine_replaces_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAMODB_ENDPOINT", "http://127.0.0.1:9")
    for name in engines.NAMES:
        engine = engines.start(name)
        assert (engine.url, engine.process) == ("http://127.0.0.1:9", None)
        engine.stop()


def test_the_variable_for_the_jars_folder_has_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "DynamoDBLocal.jar").touch()
    monkeypatch.setenv("DYNAMODB_LOCAL_HOME", str(tmp_path))
    command = engines.command(engines.DYNAMODB_LOCAL, 8000)
    assert str(tmp_path / "DynamoDBLocal.jar") in command
    assert {"-inMemory", "-sharedDb", "-disableTelemetry"} <= set(command)


@pytest.mark.parametrize("name", engines.NAMES)
def test_a_missing_engine_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.delenv("DYNAMODB_ENDPOINT", raising=False)
    monkeypatch.delenv("DYNAMODB_LOCAL_HOME", raising=False)
    monkeypatch.setattr(engines, "MODULES", tmp_path)
    with pytest.raises(engines.CannotRun, match=r"`make \.engines`"):
        engines.start(name)


def test_a_test_without_its_engine_is_skipped_and_fails_under_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cannot(name: str) -> engines.Engine:
        raise engines.CannotRun("no Java here")

    monkeypatch.setenv(conftest.FOLDER, str(tmp_path))
    monkeypatch.setattr(engines, "start", cannot)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Java here"):
        conftest.engine_url(engines.DYNAMODB_LOCAL)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Java here"):
        conftest.engine_url(engines.DYNAMODB_LOCAL)


def test_a_free_port_is_free() -> None:
    assert not engines._listens(engines.free_port())
