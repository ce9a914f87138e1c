"""A server, and devices in the same folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sltt_core.sync.device import Device
from tests.sltt_core.sync.servers import Server

MakeDevice = Callable[..., Device]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    yield found
    found.close()


@pytest.fixture
def make_device(server: Server, tmp_path: Path) -> Iterator[MakeDevice]:
    """Return a function that opens the device with a name; it is closed at the end of the test."""
    with ExitStack() as stack:

        def make(name: str = "tablet", **options: Any) -> Device:
            return stack.enter_context(server.device(tmp_path / f"{name}.db", **options))

        yield make


@pytest.fixture
def device(make_device: MakeDevice) -> Device:
    return make_device()
