"""What an edit and a batch cost does not depend on the length of the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sltt_core.sync.device import Device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.sltt_core.sync.servers import Server

UNIT = 98


@pytest.fixture(params=[UNIT, 12 * UNIT], ids=["short", "long"])
def length(request: pytest.FixtureRequest) -> int:
    """The edits in the outbox."""
    number: int = request.param
    return number


def fill(device: Device, number: int) -> None:
    project = device.project("p")
    for start in range(0, number, UNIT):
        with project.transaction():
            for count in range(start, start + UNIT):
                project.create("document", f"d-{count}")


def steps(device: Device, action: Callable[[], object]) -> int:
    """Return the steps of SQLite's virtual machine in the writer, which repeat."""
    connection = device.store.log.writer.connection
    assert connection is not None
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    connection.set_progress_handler(step, 1)
    action()
    connection.set_progress_handler(None, 1)
    return count


def send(device: Device, seq: int) -> None:
    batch = device.store.next_batch("p", "me")
    assert batch is not None
    device.store.accept(batch, range(seq, seq + UNIT))


def test_an_edit_and_a_batch_cost_the_same_behind_many_edits(tmp_path: Path, length: int) -> None:
    with Device(tmp_path / "d.db") as device:
        fill(device, length + UNIT)
        for seq in range(1, length, UNIT):
            send(device, seq)
        assert steps(device, lambda: device.project("p").create("document", "new")) < 300
        assert steps(device, lambda: send(device, length + 1)) < 200 * UNIT


def test_an_edit_costs_the_same_before_many_that_wait(tmp_path: Path, length: int) -> None:
    with Device(tmp_path / "d.db") as device:
        fill(device, length)
        assert steps(device, lambda: device.project("p").create("document", "new")) < 300


def test_what_was_sent_is_read_back_in_ranges_without_a_request_for_the_end(server: Server, device: Device) -> None:
    fill(device, 22 * UNIT)
    assert device.sync().ok
    targets = [target.partition("?")[::2] for _, target, *_ in server.requests]
    reads = [query for path, query in targets if path.endswith("/changes") and query]
    assert not [path for path, *_ in targets if path.endswith("/stats")]
    assert sorted(query.partition("&")[0] for query in reads[:3]) == ["cursor=0", "cursor=1000", "cursor=2000"]
    assert device.outbox() == []
