"""A server for the module, and a log of what went wrong in it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.hostile.raw import SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


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
def nothing_went_wrong_inside() -> Iterator[None]:
    """No request made the server log an error, whatever it answered."""
    kept = Kept()
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "sltt.server", "asyncio")]
    for logger in loggers:
        logger.addHandler(kept)
    yield
    for logger in loggers:
        logger.removeHandler(kept)
    assert not kept.said
