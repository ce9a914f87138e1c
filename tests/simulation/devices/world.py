"""`DeviceWorld`: runs one schedule with devices, which edit offline and sync with the processes of a server."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from sltt_core.api.app import Api
from sltt_core.base.errors import SlttError
from sltt_core.http_client.responses import HttpResponse
from sltt_core.log.batches import CHUNK_BYTES, CHUNK_CHANGES
from sltt_core.log.pages import ChangeStats
from sltt_core.sync.outcomes import DIVERGED
from sltt_core.sync.outsyncs import FROZEN, SENT, WAITING
from tests.simulation.devices import wire
from tests.simulation.devices.faults import FAULTS, SERVER_RESTORE
from tests.simulation.devices.record import Edit, Record, Store
from tests.simulation.devices.tablet import Crash, Tablet, empty_store
from tests.simulation.devices.wire import Gate
from tests.simulation.faults import FaultInjector
from tests.simulation.history import History, Logs
from tests.simulation.process import MakeStorage, Parts, Process
from tests.simulation.scheduler import Host, Task
from tests.simulation.world import PROJECTS, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.api.http import Request
    from sltt_core.model.changes import Change

USERS = ("ann", "ben")
MEMORY = Path("/dev/shm")
QUIET_ROUNDS = 12
"""How often all devices sync in the end at most."""
_CHUNKS = {"chunk_changes": CHUNK_CHANGES, "chunk_bytes": CHUNK_BYTES}
LEFT = (WAITING, FROZEN, SENT)
"""States in which an edit still moves."""


class DeviceWorld(World):
    """Runs one schedule with devices."""

    def __init__(self, seed: int, parts: Parts = Parts(), *, tracing: bool = False) -> None:  # noqa: B008
        super().__init__(seed, parts, tracing=tracing)
        self.device_faults = FaultInjector(self.random, FAULTS)
        self.network.lag = 2.0
        self.verifies = self.random.random() < 0.5
        """Whether the server verifies who sends a request."""
        self.revoked: set[tuple[str, str]] = set()
        self.cache: dict[str, HttpResponse] = {}
        """The last page of each project, as a proxy remembers it."""
        self.tablets: list[Tablet] = []
        self.record = Record({}, [], {}, set(), set(), set(), set(), set(), [], [], self.scheduler.failures, 0, False)
        self._apis: dict[str, Api] = {}
        self._numbers = 0
        self._folder = Path()

    def run(self) -> Any:
        """Run the schedule to its end, with the stores in a folder in memory."""
        folder = tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None, prefix="sltt-simulation-")
        self._folder = Path(folder)
        try:
            return super().run()
        finally:
            for tablet in self.tablets:
                tablet.stop()
            rmtree(folder)

    # The server

    def _start_process(self, parts: Parts | None = None, *, skewed: bool = True) -> Process:
        parts = parts or self.parts
        process = super()._start_process(parts._replace(storage=_like_on_aws(parts.storage)), skewed=skewed)
        storage: Any = process.storage
        self._apis[process.host.name] = Api(storage, access=Gate(self.revoked), runtime=process.runtime)
        return process

    def living(self) -> Process:
        """Return a process of the server that lives."""
        return self._alive()

    def respond(self, process: Process, request: Request) -> HttpResponse:
        """Let a process respond to a request."""
        if self.device_faults.occurs("server busy"):
            return wire.problem(503, "storage-busy", retryable=True)
        if request.method == "POST":
            refusal = wire.policy_problem(request.body)
            if refusal is not None:
                self.record.refused.update(wire.numbers_in(request.body, bad=True))
                return refusal
        found = self._apis[process.host.name].handle(request)
        if isinstance(found.error, Exception) and found.status == 500:
            self.note("internal", repr(found.error))
        return HttpResponse(found.status, dict(found.headers), bytes(found.content))

    def _restore(self) -> None:
        """Restore the server from a backup; its processes start again."""
        back = self.random.randint(1, 6)
        number = max(0, self.model.version - back)
        self.model.restore(lambda: number)
        self.note("restore", back)
        self.record = self.record._replace(restored=True)
        for process in self.processes:
            process.host.alive = False
        self.cache.clear()

    # The devices

    def _start_clients(self) -> None:
        random = self.random
        for _ in range(random.randint(1, 2)):
            self._start_process()
        for number in range(3):
            self._start_tablet(f"device-{number + 1}", random.choice(USERS), [])
        if random.random() < SERVER_RESTORE:
            self.faults.counts["restored to a point in time"] += 1
            for _ in range(random.choice((1, 1, 2))):
                self.scheduler.later(random.choice((5.0, 20.0, 80.0)) * random.random(), self._restore)

    def _start_tablet(self, name: str, user: str, made: list[int], files: tuple[bytes, ...] = ()) -> None:
        path = self._folder / f"{name}.db"
        for suffix, content in zip(("", "-wal"), files or (empty_store(path), b""), strict=True):
            if content:
                path.with_name(path.name + suffix).write_bytes(content)
        tablet = Tablet(self, name, user, path, made)
        tablet.edits_left = self.random.randint(2, 5)
        tablet.syncs_left = self.random.randint(2, 6)
        if self.device_faults.occurs("device clock wrong"):
            tablet.host.skew = self.random.choice((-1, 1)) * self.random.choice((1.0, 4000.0, 4e7))
        self.tablets.append(tablet)
        self._boot(tablet)

    def _boot(self, tablet: Tablet) -> None:
        """Start the process of a device: one task edits, another syncs."""
        if tablet.device is not None:
            return
        skew = tablet.host.skew
        tablet.host = Host(tablet.name)
        tablet.host.skew = skew
        tablet.open()
        if tablet.device is None or self.device_faults.disabled:
            return
        if self.device_faults.occurs("device crash in a transaction"):
            tablet.stop_later(self.random.randint(1, 120))
        for work in (self._edit_now_and_then, self._sync_now_and_then):
            self._spawn(tablet, work)

    def _spawn(self, tablet: Tablet, work: Callable[[Tablet], None]) -> None:
        def run() -> None:
            try:
                work(tablet)
            except Crash:
                self.device_faults.counts["stopped in a transaction"] += 1
                self._crash(tablet)

        self.scheduler.spawn(tablet.host, run, self.random.random())

    def _crash(self, tablet: Tablet) -> None:
        self.note("crash", tablet.name)
        tablet.stop()
        self.scheduler.later(self.random.choice((0.1, 30.0)) * self.random.random(), self._boot, tablet)

    def _process_fault(self, task: Task) -> None:
        tablet = next((tablet for tablet in self.tablets if tablet.host is task.host), None)
        if tablet is None:
            if any(process.host is task.host for process in self.processes):
                super()._process_fault(task)
        elif self.device_faults.occurs("device crash"):
            self._crash(tablet)

    def _sleep(self) -> None:
        self.scheduler.sleep(self.random.choice((0.01, 1.0, 30.0)) * self.random.random())

    # A person edits

    def _edit_now_and_then(self, tablet: Tablet) -> None:
        while tablet.edits_left:
            tablet.edits_left -= 1
            if self.device_faults.occurs("device clock jumps"):
                tablet.host.skew += self.random.choice((-1, 1)) * self.random.choice((1.0, 4000.0, 4e7))
            rejected = tablet.device.rejected() if tablet.device is not None else []
            if rejected and self.random.random() < 0.5:
                self._decide(tablet, rejected)
            else:
                self._edit(tablet)
            self._sleep()

    def _edit(self, tablet: Tablet) -> None:
        device, random = tablet.device, self.random
        assert device is not None
        project = random.choice(PROJECTS)
        numbers = tuple(range(self._numbers + 1, self._numbers + 1 + random.choice((1, 1, 1, 2, 3))))
        self._numbers = numbers[-1]
        self.record.attempted.update(numbers)
        self.note("edit", tablet.name, project, numbers)
        with device.project(project).transaction() as unit:
            for number in numbers:
                data = {"n": number, "bad": 1} if random.random() < 0.06 else {"n": number}
                unit.edit("update", "note", random.choice(("e1", "e2", "e3")), data)
        for edit in unit.edits:
            if edit.timestamp < tablet.last_time:
                self.record.backwards.append(f"{tablet.name}: {edit.timestamp} after {tablet.last_time}")
            tablet.last_time = edit.timestamp
        tablet.made.extend(numbers)
        self.record.edits.update((number, Edit(number, project, numbers)) for number in numbers)

    def _decide(self, tablet: Tablet, rejected: list[Any]) -> None:
        """Decide on an edit that the server refused."""
        assert tablet.device is not None
        edit = self.random.choice(rejected)
        number = edit.data["n"]
        what = self.random.choice(("retry", "edit", "edit", "drop"))
        self.note("decide", tablet.name, what, edit.cid, number)
        self.record.changed.add(number)
        if what == "drop":
            self.record.dropped.add(number)
            tablet.device.drop(edit.cid)
        elif what == "edit":
            tablet.device.edit(edit.cid, {"n": number})
        else:
            tablet.device.retry(edit.cid)

    # A program syncs

    def _sync_now_and_then(self, tablet: Tablet) -> None:
        while tablet.syncs_left:
            tablet.syncs_left -= 1
            self._before_sync(tablet)
            if tablet.device is None:
                return
            self._sync(tablet, *self.random.choice(((), (), PROJECTS[:1], PROJECTS[1:])))
            self._sleep()

    def _before_sync(self, tablet: Tablet) -> None:
        """Let something happen to the store, to the login or to the membership."""
        occurs, random = self.device_faults.occurs, self.random
        assert tablet.device is not None
        if tablet.backup is None and random.random() < 0.4:
            tablet.backup = tablet.save()
        if occurs("store copied") and len(self.tablets) < 5:
            name = f"device-{len(self.tablets) + 1}"
            self.note("copy", tablet.name, name)
            self._start_tablet(name, tablet.user, [*tablet.made], tablet.save().files)
        if occurs("membership revoked"):
            member = (tablet.user, random.choice(PROJECTS))
            self.revoked.add(member)
            self.scheduler.later(30 * random.random(), self.revoked.discard, member)
        if occurs("project deleted on the device"):
            project = random.choice(PROJECTS)
            self.note("purge", tablet.name, project)
            for change in tablet.device.project(project).changes():
                self.record.excused.add(change.data["n"])
            tablet.device.purge(project)
            tablet.device.follow(project)
        new_file = occurs("store restored to a new file")
        if tablet.backup is not None and (new_file or occurs("store restored")):
            self.note("put back", tablet.name, tablet.backup.made, new_file)
            tablet.stop()
            self.record.excused.update(tablet.put_back(tablet.backup, new_file=new_file))
            self.scheduler.later(0.1, self._boot, tablet)
        elif occurs("other login"):
            tablet.user = random.choice(USERS)
            tablet.stop()
            self.scheduler.later(0.1, self._boot, tablet)

    def _sync(self, tablet: Tablet, *projects: str) -> None:
        device = tablet.device
        assert device is not None
        result = device.sync(*projects)
        self.note("synced", tablet.name, result)
        self.device_faults.counts[f"sync {result.outcome}"] += 1
        for project, found in result.projects.items():
            if found.outcome == DIVERGED and self.random.random() < 0.7:
                resynced = device.resync(project)
                self.device_faults.counts[f"resync {resynced.outcome}"] += 1
                self.note("resynced", tablet.name, project, resynced.outcome, resynced.trouble)

    # The end

    def _settle(self) -> None:
        """Stop all faults; all devices sync until nothing moves."""
        self.faults.disabled = self.device_faults.disabled = True
        self.revoked.clear()
        for process in self.processes:
            process.host.alive = False
        self._start_process(skewed=False)
        for tablet in self.tablets:
            tablet.statements_left = 0
            self._boot(tablet)
            assert tablet.device is not None
            tablet.device.follow(*PROJECTS)  # a device may have stopped between `purge` and `follow`
        for turn in range(QUIET_ROUNDS):
            for tablet in self.tablets:
                self._spawn(tablet, self._sync_in_the_end)
                if turn:  # in the first round, all at the same time
                    self.scheduler.run()
            self.scheduler.run()
            if len(set(self._ends())) == 1:
                break
        self.record = self.record._replace(stores=[self._store_of(tablet) for tablet in self.tablets])

    def _ends(self) -> list[tuple[Any, ...]]:
        """Return the ends of the logs of each device; equal ones only when no edit moves any more."""
        found = []
        for tablet in self.tablets:
            assert tablet.device is not None
            left = tablet.device.outbox(states=LEFT)
            heads = tuple(tablet.device.store.head(project) for project in PROJECTS)
            found.append((*heads, tablet.name if left else ""))
        return found

    def _sync_in_the_end(self, tablet: Tablet) -> None:
        """Sync both projects, under each login that edits wait for, and resync if necessary."""
        for user in (tablet.user, *(user for user in USERS if user != tablet.user)):
            assert tablet.device is not None
            if user != tablet.user:
                if not tablet.device.outbox(states=LEFT):
                    break
                tablet.user = user
                tablet.device.store.close()
                tablet.open()
            for project, found in tablet.device.sync(*PROJECTS).projects.items():
                self.note("in the end", tablet.name, project, found.outcome, found.trouble)
                if found.outcome == DIVERGED:
                    self.note("resynced", tablet.name, project, tablet.device.resync(project))

    def _store_of(self, tablet: Tablet) -> Store:
        assert tablet.device is not None
        logs: dict[str, tuple[Change, ...]] = {}
        for project in PROJECTS:
            try:
                logs[project] = tuple(tablet.device.project(project).changes())
            except SlttError as error:
                self.record.unreadable.append(f"{tablet.name} cannot read {project}: {error.message}")
        return Store(tablet.name, logs, tuple(tablet.device.outbox()), tablet.device.status())

    def _replay_late(self) -> None:
        """Nothing: the keys are those of the other schedules."""

    def _read_final_state(self) -> tuple[dict[str, Logs], tuple[str, ...]]:
        """Read all logs, with a storage without a planted bug."""
        process = self._start_process(Parts(), skewed=False)
        final: dict[str, Logs] = {}

        def read() -> None:
            for project in PROJECTS:
                changes = tuple(process.storage.get_changes_since(project_id=project))
                final[project] = Logs(changes, ChangeStats(0, 0, 0, 0), {}, None, ())

        self.scheduler.spawn(process.host, read)
        self.scheduler.run()
        return final, ()

    def _history(self, stuck: int) -> History:
        history = super()._history(stuck)
        server = {project: log.changes for project, log in history.final.items()}
        self.faults.counts = Counter({**self.faults.counts, **self.device_faults.counts})
        return history._replace(devices=self.record._replace(server=server, stuck=stuck))


def _like_on_aws(make: MakeStorage) -> MakeStorage:
    """Let a process write whole batches of a device at once: a unit relies on it."""
    return lambda *arguments, **options: make(*arguments, **{**options, **_CHUNKS})
