"""`SyncManager`: the sync in the background, its pauses, and what its watchers receive."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Semaphore, Thread, current_thread
from typing import Any, TypeVar
from unittest import mock

import pytest

from sltt_core.api.roles import RoleAccess
from sltt_core.base.errors import StorageError
from sltt_core.base.record import Record
from sltt_core.base.runtime import SYSTEM
from sltt_core.http_client.responses import HttpResponse
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from sltt_core.sync import events
from sltt_core.sync.device import Device
from sltt_core.sync.manager import FIRST_BACKOFF, LONGEST_BACKOFF, WAIT_SECONDS, Backoff, SyncManager
from sltt_core.sync.outcomes import CANCELLED, SyncResult
from sltt_core.sync.remote import Remote
from sltt_core.sync.store import DeviceStore
from sltt_core.sync.syncer import Syncer
from tests.contract.logs import batch, everything, new
from tests.sltt_core.sync.crashes import stale_after
from tests.sltt_core.sync.servers import Logins, Server, problem, refuses

SECONDS = 30
"""The bound of every wait; no test waits for it."""
E = TypeVar("E", bound=Record)
SYNC, LISTEN = "sltt-sync", "sltt-listen"
"""The names of the threads."""


class Pauses:
    """The pauses of the threads: each is noted, and lasts until the test ends it."""

    def __init__(self) -> None:
        self._begun: dict[str, SimpleQueue[float]] = {SYNC: SimpleQueue(), LISTEN: SimpleQueue()}
        self._ended = {SYNC: Semaphore(0), LISTEN: Semaphore(0)}
        self.over = False

    def wait(self, event: Event, seconds: float) -> bool:
        """Wait for an event in a thread of the manager."""
        thread = current_thread().name
        if thread == SYNC and seconds == WAIT_SECONDS:  # until there is something to do
            return event.wait(SECONDS)
        self._begun[thread].put(seconds)
        if not self.over:
            assert self._ended[thread].acquire(timeout=SECONDS)
        return event.is_set()

    def next(self, thread: str) -> float:
        """Return how long the next pause of a thread is to last, when it has begun."""
        return self._begun[thread].get(timeout=SECONDS)

    def end(self, thread: str) -> None:
        """End a pause."""
        self._ended[thread].release()

    def end_all(self) -> None:
        """Let no pause last any more."""
        self.over = True
        for ended in self._ended.values():
            ended.release(100)


class Background:
    """The store of a device, and a manager that syncs it with a server."""

    def __init__(self, folder: Path, server: Server, **client: Any) -> None:
        self.server = server
        self.pauses = Pauses()
        self.store = DeviceStore(folder / "background.db")
        runtime = SYSTEM.replace(random=lambda: 0.5)
        self.syncer = Syncer(self.store, server.client(**client), notify=lambda event: self.manager.notify(event))
        self.manager = SyncManager(self.store, self.syncer, runtime=runtime, wait=self.pauses.wait)
        self.store.open()
        self.store.follow("p")

    def edit(self, entity_id: str, project_id: str = "p") -> None:
        """Make an edit, as a device does."""
        self.store.add_unit([self.store.new_edit(project_id, "document", entity_id, "create", "{}", None)])
        self.manager.wake()

    @contextmanager
    def watching(self, project_id: str | None = None) -> Iterator[events.Events]:
        """Sync in the background, and receive events."""
        watcher = self.manager.watch(project_id)
        self.manager.start()
        try:
            yield watcher
        finally:
            self.close()

    def close(self) -> None:
        self.pauses.end_all()
        self.manager.stop()
        self.store.close()


@pytest.fixture
def background(server: Server, tmp_path: Path) -> Iterator[Background]:
    found = Background(tmp_path, server)
    yield found
    found.close()


def next_of(watcher: events.Events, kind: type[E]) -> E:
    """Return the next event of a kind."""
    while (event := watcher.get(SECONDS)) is not None:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"there was no {kind.__name__}")


def stored(server: Server) -> list[str]:
    return [change.entity_id for change in everything(server.storage)]


# Pauses


def test_pauses_are_random_up_to_a_bound_that_doubles() -> None:
    fractions = iter([0.999, 0.25, 0.0, *[0.5] * 20])
    backoff = Backoff(lambda: next(fractions))
    pauses = [backoff.next() for _ in range(14)]
    assert pauses[:4] == [0.999 * FIRST_BACKOFF, 0.25 * 1, 0.0, 0.5 * 4]
    assert pauses[-3:] == [LONGEST_BACKOFF / 2] * 3
    backoff.reset()
    assert backoff.next() == 0.5 * FIRST_BACKOFF


def test_a_pause_is_at_least_what_the_server_asks_for() -> None:
    backoff = Backoff(lambda: 0.5)
    assert backoff.next(17) == 17
    assert backoff.next(0.1) == 0.5
    assert backoff.next(None) == 1.0


def test_a_server_out_of_reach_is_tried_again_after_longer_and_longer_pauses(background: Background) -> None:
    background.server.answer = refuses
    with background.watching() as watcher:
        assert background.pauses.next(SYNC) == 0.25
        offline = watcher.get(SECONDS)
        assert isinstance(offline, events.Offline)
        assert offline.retry_seconds == 0.25
        for expected in (0.5, 1.0, 2.0):
            background.pauses.end(SYNC)
            assert background.pauses.next(SYNC) == expected
        background.server.answer = None
        background.edit("a")
        background.pauses.end(SYNC)
        assert isinstance(watcher.get(SECONDS), events.Progress)  # one event says that it is offline, and no more
        next_of(watcher, events.Online)
        assert stored(background.server) == ["a"]
        background.server.answer = refuses
        background.edit("b")
        assert background.pauses.next(SYNC) == 0.25  # it begins again
        next_of(watcher, events.Offline)


def test_an_edit_does_not_shorten_a_pause(background: Background) -> None:
    background.server.answer = refuses
    with background.watching():
        background.pauses.next(SYNC)
        requests = len(background.server.requests)
        background.edit("a")
        background.edit("b")
        background.pauses.end(SYNC)
        background.pauses.next(SYNC)
        assert len(background.server.requests) == requests + 1


def test_a_busy_server_says_when_it_is_tried_again(background: Background) -> None:
    busy = problem(503, "storage-busy", retryable=True)

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        found = busy(method, target, respond)
        return None if found is None else found.replace(headers={**found.headers, "retry-after": "17"})

    background.server.answer = answer
    background.edit("a")
    with background.watching() as watcher:
        assert background.pauses.next(SYNC) == 17
        assert next_of(watcher, events.Offline).retry_seconds == 17


def test_a_server_that_does_not_wait_is_asked_by_the_clock(background: Background) -> None:
    """It responds at once, with `maxWait` 0, as a function does."""
    with background.watching() as watcher:
        assert background.pauses.next(LISTEN) == WAIT_SECONDS
        requests = len(background.server.requests)
        background.server.storage.create_changes(batch(3))
        assert len(background.server.requests) == requests
        background.pauses.end(LISTEN)
        arrived = next_of(watcher, events.Arrived)
        assert arrived == events.Arrived("p", 1, 3, 0)
        assert background.pauses.next(LISTEN) == WAIT_SECONDS


def test_a_server_that_waited_is_asked_again_at_once(background: Background) -> None:
    waits = [WAIT_SECONDS, 10.0]

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if "wait=" not in target or not waits:
            return None
        found = respond()
        waited = f'"waited": {waits.pop(0)}'.encode()
        return found.replace(body=found.body.replace(b'"waited":0', waited).replace(b'"waited": 0', waited))

    background.server.answer = answer
    with background.watching():
        assert background.pauses.next(LISTEN) == WAIT_SECONDS - 10.0
        assert waits == []


def test_the_thread_that_listens_backs_off_by_itself(background: Background) -> None:
    """A gateway that refuses requests which wait, and no others."""

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        return HttpResponse(504, {"content-type": "text/html"}, b"<html>") if "wait=" in target else None

    background.server.answer = answer
    with background.watching():
        assert background.pauses.next(LISTEN) == 0.25
        background.pauses.end(LISTEN)
        assert background.pauses.next(LISTEN) == 0.5


def test_news_that_cannot_be_stored_do_not_spin(background: Background) -> None:
    """The server says that a project moved, but its pages do not show it yet."""
    background.server.storage.create_changes(batch(2))

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        return stale_after(target) if "/changes?" in target else None

    background.server.answer = answer
    with background.watching():
        assert background.pauses.next(LISTEN) == WAIT_SECONDS
        assert len([target for _, target, _, _ in background.server.requests if "wait=" in target]) == 2


# What happens in the background


def test_edits_are_sent_at_once(background: Background) -> None:
    with background.watching() as watcher:
        background.pauses.next(LISTEN)
        background.edit("a")
        arrived = next_of(watcher, events.Arrived)
        assert arrived == events.Arrived("p", 1, 1, 1)
        assert stored(background.server) == ["a"]
        assert background.store.outsyncs() == []


def test_a_watcher_receives_what_concerns_its_project_and_the_connection(background: Background) -> None:
    with background.watching("q") as watcher:
        background.edit("a")
        background.edit("b", "q")
        assert next_of(watcher, events.Progress) == events.Progress("q", "up", 1, 1)
        background.server.answer = refuses
        background.edit("c")
        received = []
        while not isinstance(event := watcher.get(SECONDS), events.Offline):
            received.append(event)
        assert {getattr(event, "project_id", None) for event in received} <= {"q"}


def test_a_refused_edit_and_another_history_are_events(background: Background, tmp_path: Path) -> None:
    server = background.server
    errors = [{"index": 0, "field": "changes[0].data", "reason": "is not welcome"}]
    server.answer = problem(400, "invalid-batch", failedAtIndex=0, errors=errors)
    other = Server(tmp_path, "other")
    other.storage.create_changes([new("another")])
    other.close()
    with background.watching() as watcher:
        background.edit("a")
        assert next_of(watcher, events.Rejected).reason == "changes[0].data: is not welcome"
        server.answer = None
        background.edit("b")
        next_of(watcher, events.Arrived)
        server.replace(other.path)
        background.edit("c")
        assert next_of(watcher, events.Diverged).project_id == "p"
    with background.store:
        assert background.store.status().projects["p"].state == "diverged"
        assert [edit.entity_id for edit in background.store.outsyncs()] == ["a", "c"]


def test_a_membership_that_is_revoked_stops_its_project(tmp_path: Path) -> None:
    server = Server(tmp_path, "guarded", access=RoleAccess, authenticator=Logins("anna", "ben"))
    for project_id in "pq":
        for name, role in (("ben", "owner"), ("anna", "editor")):
            server.storage.set_role(name, role, project_id=project_id)  # type: ignore[arg-type]
    background = Background(tmp_path, server, token="anna")
    background.store.follow("q")
    with closing(server), background.watching() as watcher:
        background.pauses.next(LISTEN)
        server.client(token="ben").remove_member("p", "anna")
        background.pauses.end(LISTEN)
        assert next_of(watcher, events.Stopped).project_id == "p"
        background.edit("kept")
        background.edit("b", "q")
        assert next_of(watcher, events.Arrived).project_id == "q"
        assert [edit.entity_id for edit in background.store.outsyncs()] == ["kept"]


def test_a_login_that_ends_stops_and_start_tries_again(tmp_path: Path) -> None:
    logins = Logins("anna")
    server = Server(tmp_path, "guarded", authenticator=logins)
    background = Background(tmp_path, server, token="anna")
    with closing(server), background.watching() as watcher:
        background.pauses.next(LISTEN)
        logins.valid.clear()
        background.edit("a")
        assert next_of(watcher, events.Stopped).outcome == "paused"
        logins.valid.add("anna")
        background.pauses.end_all()
        background.manager.stop()
        again = background.manager.watch()
        background.manager.start()
        assert next_of(again, events.Arrived).own == 1


def test_a_failure_of_the_store_is_told_and_tried_again(background: Background) -> None:
    background.server.storage.create_changes(batch(2))
    broken = mock.patch.object(background.store, "put_page", side_effect=StorageError("the disk is full"))
    broken.start()
    with background.watching() as watcher:
        assert next_of(watcher, events.Failed).reason == "the disk is full"
        assert background.pauses.next(SYNC) == 0.25
        background.pauses.end(SYNC)
        assert background.pauses.next(SYNC) == 0.5
        broken.stop()
        background.pauses.end(SYNC)
        assert next_of(watcher, events.Arrived).last == 2


def test_a_failure_of_the_store_does_not_end_the_listening(background: Background) -> None:
    status = background.store.status
    failed = Event()

    def fails_once() -> Any:
        if current_thread().name == LISTEN and not failed.is_set():
            failed.set()
            raise StorageError("the disk is full")
        return status()

    with mock.patch.object(background.store, "status", fails_once), background.watching() as watcher:
        assert background.pauses.next(LISTEN) == 0.25
        background.pauses.end(LISTEN)
        assert background.pauses.next(LISTEN) == WAIT_SECONDS
        background.server.storage.create_changes(batch(1))
        background.pauses.end(LISTEN)
        next_of(watcher, events.Arrived)


# Starting and stopping


def test_stop_ends_every_watch_and_start_begins_again(device: Device) -> None:
    with device.watch() as first, device.watch("p") as second:
        device.stop()
        for watcher in (first, second):
            list(watcher)
            assert watcher.ended
        device.start()
        with device.watch() as third:
            device.project("p").create("document", "a")
            next_of(third, events.Arrived)
        assert device._sync_parts()[1].is_running  # start began it
    assert first.get(0) is None
    device.stop()
    device.stop()


def test_the_sync_ends_with_the_last_watcher(device: Device) -> None:
    manager = device._sync_parts()[1]
    first, second = device.watch(), device.watch()
    first.__enter__()
    watcher = second.__enter__()
    first.__exit__(None, None, None)
    device.project("p").create("document", "a")
    next_of(watcher, events.Arrived)
    second.__exit__(None, None, None)
    assert not manager.is_running


def test_a_start_during_a_watch_outlives_it(device: Device) -> None:
    manager = device._sync_parts()[1]
    with device.watch():
        device.start()
    assert manager.is_running
    device.close()
    assert not manager.is_running


def test_a_watch_of_another_project_wakes_a_sync_that_runs_already(device: Device) -> None:
    device.start()
    with mock.patch.object(device._sync_parts()[1], "wake") as wake, device.watch("q"):
        wake.assert_called_once_with()
    assert device.status().projects.keys() == {"q"}


def test_closing_a_device_ends_its_watch(device: Device) -> None:
    with device.watch() as watcher:
        device.close()
        list(watcher)
    assert watcher.ended


def test_no_event_is_received_without_a_watcher_that_waits(device: Device) -> None:
    """An event stays in the queue until the consumer's own thread takes it."""
    threads = []
    with device.watch() as watcher:
        device.project("p").create("document", "a")
        for event in watcher:
            threads.append(current_thread())
            if isinstance(event, events.Arrived):
                break
    assert set(threads) == {current_thread()}


# Real connections


@pytest.fixture
def silent() -> Iterator[tuple[str, Event]]:
    """A server that accepts a connection and never responds: its URL, and whether a request arrived."""
    arrived = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                while connection.recv(65536):
                    arrived.set()

        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", arrived
        thread.join(SECONDS)
        assert not thread.is_alive()


@pytest.mark.parametrize("own", [True, False])
def test_a_request_without_a_response_is_cancelled(silent: tuple[str, Event], tmp_path: Path, own: bool) -> None:
    """Also with a client that the program has made."""
    url, arrived = silent
    with Device(tmp_path / "tablet.db", url if own else None, client=None if own else Remote(url)) as device:
        device.project("p").create("document", "mine")
        results: list[SyncResult] = []
        syncing = Thread(target=lambda: results.append(device.sync()))
        syncing.start()
        assert arrived.wait(SECONDS)
        device.stop()
        syncing.join(SECONDS)
        assert results[0].outcome == CANCELLED  # not offline, which it is when the time of the request is over
        assert len(device.outbox()) == 1


def test_the_end_of_a_watch_cancels_a_request_without_a_response(silent: tuple[str, Event], tmp_path: Path) -> None:
    url, arrived = silent
    with Device(tmp_path / "tablet.db", url) as device:
        device.project("p").create("document", "mine")
        with device.watch() as watcher:
            assert arrived.wait(SECONDS)
        assert list(watcher) == []  # no `Offline`
        assert len(device.outbox()) == 1


def test_a_change_of_another_device_arrives_as_an_event(tmp_path: Path) -> None:
    with (
        RestApiServer(storage=LocalStorageService(tmp_path / "log.db"), port=0) as server,
        Device(tmp_path / "tablet.db", server.url, user="Noémie") as tablet,
        Device(tmp_path / "phone.db", server.url, user="Ben") as phone,
        tablet.watch("ruth") as watcher,
    ):
        for number in range(1, 4):
            phone.project("ruth").create("passage", f"r{number}", title="Naomi")
            assert phone.sync().sent == 1
            arrived = next_of(watcher, events.Arrived)
            assert arrived == events.Arrived("ruth", number, number, 0)
            assert [change.change_by for change in tablet.project("ruth").changes()] == ["Ben"] * number
        tablet.project("ruth").update("passage", "r1", title="Ruth")
        assert next_of(watcher, events.Arrived).own == 1
        assert phone.sync().received == 1
