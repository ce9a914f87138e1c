"""Planted bugs: each mistake that a sync can have makes a test of this folder fail."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sltt_core.log.pages import EMPTY_LOG, Head
from sltt_core.model.changes import Change
from sltt_core.sqlite import rows
from sltt_core.sync import outbox, outsync, responses, store
from sltt_core.sync.errors import ForeignResponse, RemoteError
from sltt_core.sync.outsyncs import Batch, Outsync
from sltt_core.sync.store import Arrival, DeviceStore
from tests.contract.logs import batch
from tests.sltt_core.sync import test_downsync, test_outsync, test_store
from tests.sltt_core.sync.conftest import MakeDevice
from tests.sltt_core.sync.crashes import prepare_sync
from tests.sltt_core.sync.servers import Server, html
from tests.sltt_core.sync.test_crash_points import stop_everywhere

Check = Callable[[Server, MakeDevice, Path], None]


def cursor_before_page(patch: pytest.MonkeyPatch) -> None:
    real = rows.insert_changes

    def put_page(
        self: DeviceStore, project_id: str, after: Head, changes: Sequence[Change], heard: int = 0
    ) -> Arrival | None:
        def move(connection: Any) -> int:
            found = rows.find_log(connection, project_id)
            log = rows.insert_log(connection, project_id) if found is None else found[0]
            end = (changes[-1].seq + 1, changes[-1].chain, log)
            connection.execute("UPDATE logs SET value = ?, chain = ? WHERE log = ?", end)
            return log

        def store_rows(connection: Any) -> Arrival:
            real(connection, log, changes)
            confirmed, _ = outbox.confirm(connection, project_id, changes)
            return Arrival(tuple(confirmed), False)

        if not changes:
            return Arrival((), False)
        log = self.log.writer.write(move)
        return self.log.writer.write(store_rows)

    patch.setattr(DeviceStore, "put_page", put_page)


def outbox_cleared_on_200(patch: pytest.MonkeyPatch) -> None:
    real = outbox.accept

    def accept(connection: Any, *args: Any) -> list[Outsync]:
        edits = real(connection, *args)
        for edit in edits:
            connection.execute("DELETE FROM outsyncs WHERE local = ?", (edit.local,))
        return edits

    patch.setattr(outbox, "accept", accept)


def rejected_on_a_400_of_a_proxy(patch: pytest.MonkeyPatch) -> None:
    real = outsync.Outsyncer._refused

    def refused(self: Any, batch: Batch, action: str, error: RemoteError) -> dict[int, str]:
        if isinstance(error, ForeignResponse) and error.status == 400:
            return {0: '{"type": "400", "detail": "bad request"}'}
        return real(self, batch, action, error)

    patch.setattr(outsync.Outsyncer, "_refused", refused)


def unit_split(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outbox, "_units", lambda edits: ([edit] for edit in edits))


def stale_page_accepted(patch: pytest.MonkeyPatch) -> None:
    real = DeviceStore.put_page

    def put_page(self: DeviceStore, project_id: str, after: Head, changes: Any, heard: int = 0) -> Arrival | None:
        arrival = real(self, project_id, after, changes, heard)
        return Arrival((), False) if arrival is None else arrival

    def run(self: Any, project_id: str, head: Head, changes: Any, heard: Any, count: Any) -> bool:
        """Move the cursor back to where the late page ends."""
        if self._store.put_page(project_id, head, changes, 0) == Arrival((), False) and changes:
            end = (changes[-1].seq + 1, changes[-1].chain, project_id)
            self._store.log.writer.write(
                lambda connection: connection.execute("UPDATE logs SET value = ?, chain = ? WHERE project_id = ?", end)
            )
        return True

    from sltt_core.sync.downsync import Downsync

    patch.setattr(DeviceStore, "put_page", put_page)
    patch.setattr(Downsync, "_put", run)


def chain_unchecked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store, "check_links", lambda previous, changes: None)


def one_cursor_for_all_projects(patch: pytest.MonkeyPatch) -> None:
    def head(self: DeviceStore, project_id: str) -> Head:
        with self.log.readers.snapshot() as connection:
            found = connection.execute("SELECT value - 1, chain FROM logs ORDER BY value DESC LIMIT 1").fetchone()
        return EMPTY_LOG if found is None else Head.of(found)

    patch.setattr(DeviceStore, "head", head)


def a_bad_change_blocks(patch: pytest.MonkeyPatch) -> None:
    def refuse(connection: Any, batch: int, problems: Any) -> list[Outsync]:
        outbox.thaw(connection, batch)
        raise KeyboardInterrupt  # it would be sent for ever

    patch.setattr(outbox, "refuse", refuse)


def units_overtake(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outbox, "hold", lambda connection, project_id: None)


def crash_points(server: Server, make_device: MakeDevice, folder: Path) -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sltt-", dir=memory if memory.is_dir() else folder) as name:
        world = prepare_sync(Path(name) / "prepared")
        found = next(stop_everywhere(world, Path(name), hides=True), None)
    assert found is None, found


def shows_edits(server: Server, make_device: MakeDevice, folder: Path) -> None:
    test_outsync.test_edits_stay_in_the_outbox_until_they_come_back(server, make_device())


def survives_a_proxy(server: Server, make_device: MakeDevice, folder: Path) -> None:
    device = make_device()
    test_outsync.edits(device, "e")
    server.answer = html(400)
    assert device.sync().rejected == ()


def keeps_units(server: Server, make_device: MakeDevice, folder: Path) -> None:
    test_store.test_a_batch_never_divides_a_unit(make_device())


def joins_pages(server: Server, make_device: MakeDevice, folder: Path) -> None:
    test_downsync.test_a_page_of_an_earlier_cursor_is_not_stored_twice(server, make_device())


def checks_links(server: Server, make_device: MakeDevice, folder: Path) -> None:
    test_downsync.test_a_page_that_does_not_join_stops_its_project_alone(server, make_device(), test_downsync.tampered)


def follows_two_projects(server: Server, make_device: MakeDevice, folder: Path) -> None:
    server.storage.create_changes([*batch(5), *batch(3, "q")])
    device = make_device()
    device.follow("p", "q")
    device.sync()
    assert [len(list(device.project(name).changes())) for name in ("p", "q")] == [5, 3]


def sets_aside(server: Server, make_device: MakeDevice, folder: Path) -> None:
    try:
        test_outsync.test_a_refused_edit_is_set_aside_and_the_others_go_on(server, make_device())
    except KeyboardInterrupt:
        raise AssertionError("a refused edit blocks") from None


def holds(server: Server, make_device: MakeDevice, folder: Path) -> None:
    test_outsync.test_a_refused_edit_of_a_unit_keeps_the_unit_back(server, make_device())


PLANTED: list[tuple[Callable[[pytest.MonkeyPatch], None], Check]] = [
    (cursor_before_page, crash_points),
    (outbox_cleared_on_200, shows_edits),
    (rejected_on_a_400_of_a_proxy, survives_a_proxy),
    (unit_split, keeps_units),
    (stale_page_accepted, joins_pages),
    (chain_unchecked, checks_links),
    (one_cursor_for_all_projects, follows_two_projects),
    (a_bad_change_blocks, sets_aside),
    (units_overtake, holds),
]


@pytest.fixture
def parts(server: Server, make_device: MakeDevice, tmp_path: Path) -> tuple[Server, MakeDevice, Path]:
    return server, make_device, tmp_path


@pytest.mark.parametrize(("plant", "check"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    check: Check,
    parts: tuple[Server, MakeDevice, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check(*parts)


@pytest.mark.parametrize("check", [check for _, check in PLANTED[1:]], ids=lambda check: check.__name__)
def test_the_checks_pass_without_a_planted_bug(check: Check, parts: tuple[Server, MakeDevice, Path]) -> None:
    check(*parts)
    assert responses.BECOMES
