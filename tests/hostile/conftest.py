"""A server for each module, and a check that it logs no error."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.hostile.raw import SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator


class LogLines(logging.Handler):
    """Collects the logged warnings and errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> LocalStorageService:
    return LocalStorageService(tmp_path_factory.mktemp("hostile") / "log.db")


@pytest.fixture(scope="module")
def server(storage: LocalStorageService) -> Iterator[RestApiServer]:
    running = RestApiServer(storage=storage, server_name=SERVER, header_seconds=20, body_seconds=20)
    running.start(port=0)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def server_logs_no_error() -> Iterator[None]:
    """Check after each test that the server logged no warning and no error."""
    kept = LogLines()
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "sltt.server", "asyncio")]
    for logger in loggers:
        logger.addHandler(kept)
    yield
    for logger in loggers:
        logger.removeHandler(kept)
    assert not kept.lines
