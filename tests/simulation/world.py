"""`World`: runs one schedule: processes, the clients on them, and the faults; all determined by one seed."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any, NamedTuple

from aws_backend.log import schema as tables
from sltt_core.base.errors import ChainMismatch, LogDamaged, SlttError
from sltt_core.log.pages import ChangeStats
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import NewChange
from sltt_core.model.fields import OPERATIONS
from tests.simulation.faults import RESTORE, FaultInjector
from tests.simulation.history import Batch, Call, History, Logs, Restored
from tests.simulation.network import Network
from tests.simulation.process import TABLE, Parts, Process
from tests.simulation.scheduler import EPOCH, Host, Scheduler, Task

PROJECTS = ("p", "q")
TYPES = ("document", "video", "note")
DAYS = 399
"""How many days pass before the batches with a key are sent again. A key is remembered for 400."""


class Outcome(NamedTuple):
    """The result of a schedule."""

    history: History
    digest: str
    """The hash of the trace; it is always the same for the same seed."""
    steps: int
    requests: int
    seconds: float
    """The virtual time that passed, in seconds."""
    faults: dict[str, int]
    trace: list[str]
    """Empty without `tracing`."""


class World:
    """Runs one schedule."""

    def __init__(self, seed: int, parts: Parts = Parts(), *, tracing: bool = False) -> None:  # noqa: B008
        self.seed = seed
        self.parts = parts
        self.random = random = Random(seed)
        self.scheduler = Scheduler(random)
        self.scheduler.before_step = self._process_fault
        self.faults = FaultInjector(random)
        self.model = parts.model(lambda: self.scheduler.now)
        self.model.call("CreateTable", tables.definition(TABLE))
        self.model.table({"TableName": TABLE}).time_to_live = {"Enabled": True, "AttributeName": "expires"}
        self.model.remembers_refused = self.faults.occurs("refused tokens remembered")
        self.network = Network(self.scheduler, self.model, self.faults, self.note)
        self.calls: list[Call] = []
        self.batches: list[Batch] = []
        self.open_batches: set[int] = set()
        self.processes: list[Process] = []
        self.chunk_limits: set[tuple[int, int]] = set()
        self._settled = 0
        self._late: int | None = None
        self.restored: list[Restored] = []
        self.readers: list[Reader] = []
        self._order = 0
        self._hash = sha256()
        self._trace: list[str] | None = [] if tracing else None
        self._shapes = random.sample((1, 1, 2, 2, 3, 7, 9), 4)

    def note(self, *words: object) -> None:
        """Add a line to the trace."""
        line = f"{self.scheduler.now - EPOCH:.6f} " + " ".join(map(str, words))
        self._hash.update(line.encode())
        if self._trace is not None:
            self._trace.append(line)

    def run(self) -> Outcome:
        """Run the schedule to its end."""
        try:
            return self._run()
        finally:
            self.scheduler.finish()

    def _run(self) -> Outcome:
        self._start_clients()
        self.scheduler.run()
        stuck = len(self.scheduler.stuck)
        self._settle()
        if not self.restored:
            self._replay_late()
        stuck += len(self.scheduler.stuck)
        return Outcome(
            self._history(stuck),
            self._hash.hexdigest(),
            self.scheduler.steps,
            self.network.request_count,
            self.scheduler.now - EPOCH,
            {name: count for name, count in sorted(self.faults.counts.items()) if count},
            self._trace or [],
        )

    def _start_clients(self) -> None:
        random = self.random
        for _ in range(random.randint(1, 3)):
            self._start_process()
        for number in range(random.randint(1, 4)):
            script = [self._make_batch() for _ in range(random.randint(1, 3))]
            self._begin(lambda script=script: self._write(script), number * 0.01)  # type: ignore[misc]
        for number in range(random.randint(1, 3)):
            reader = Reader(number, random.choice(PROJECTS))
            self.readers.append(reader)
            rounds = random.randint(3, 8)
            self._begin(lambda reader=reader, rounds=rounds: self._read(reader, rounds), random.random() * 0.2)  # type: ignore[misc]
        if random.random() < 0.5:
            self._begin(self._query_everything, random.random() * 0.2)
        if random.random() < 0.3:
            self._begin(self._verify_and_repair, random.random() * 0.2)
        if random.random() < 0.1:
            self.faults.chances |= {"transaction held": 0.4, "half a transaction seen": 0.6}
            self._begin(self._verify_again_and_again, 0.0)
        if random.random() < RESTORE:
            self.faults.counts["restored to a point in time"] += 1
            self.scheduler.later(random.choice((0.05, 0.5, 3.0)), self._restore)

    def _history(self, stuck: int) -> History:
        """Return the record of the schedule, with the logs as they are now."""
        final, projects = self._read_final_state()
        return History(
            self.seed,
            self.calls,
            self.batches,
            frozenset(self.chunk_limits),
            final,
            projects,
            self.restored,
            self.scheduler.failures,
            stuck,
            tuple(self.network.transactions),
            self._settled,
            self._late,
            self.faults.counts["delivered twice"] > 0,
        )

    # Processes

    def _start_process(self, parts: Parts | None = None, *, skewed: bool = True) -> Process:
        process = Process(self, f"process-{len(self.processes) + 1}", parts or self.parts, skewed)
        self.processes.append(process)
        self.chunk_limits.add((process.chunk_changes, process.chunk_bytes))
        self.note(
            "start",
            process.host.name,
            process.chunk_changes,
            process.chunk_bytes,
            process.time_limit,
            process.host.skew,
        )
        return process

    def _alive(self) -> Process:
        """Return a living process, sometimes a new one; always a new one if none is left."""
        alive = [process for process in self.processes if process.host.alive]
        if not alive or (len(alive) < 3 and self.random.random() < 0.3):
            return self._start_process()
        return self.random.choice(alive)

    def _begin(self, work: Callable[[], object], delay: float) -> None:
        """Start the work of a client. If its process dies, another process starts the work again."""
        process = self._alive()
        process.clients.append(work)

        def run() -> None:
            work()
            process.clients.remove(work)

        self.scheduler.spawn(process.host, run, delay)

    def _process_fault(self, task: Task) -> None:
        """Let a process die or sleep before one of its threads is resumed."""
        host, faults, random = task.host, self.faults, self.random
        if faults.occurs("crash"):
            self.note("crash", host.name)
            host.alive = False
            for work in self._process_of(host).clients:
                self._begin(work, random.random())
            return
        nap = 0.0
        if faults.occurs("process asleep"):
            nap = 20.0 * random.random()
        elif faults.occurs("asleep past the token"):
            nap = 600.0 + 600.0 * random.random()
        if nap:
            host.asleep_until = self.scheduler.now + nap
            host.slept += nap
            if random.random() < 0.5:  # a suspended laptop's steady clock stands still
                host.lost += nap
            self.note("asleep", host.name, nap)

    def _process_of(self, host: Host) -> Process:
        return next(process for process in self.processes if process.host is host)

    def _here(self) -> Process:
        return self._process_of(self.scheduler.current.host)

    # Clients

    def _call(self, by: int, method: str, **arguments: Any) -> Call:
        """Call a method of this process's storage and record it; `by` is the number of a batch or a reader."""
        process = self._here()
        host = process.host
        self._order += 1
        call = Call(host.name, by, method, arguments, self._order, self.scheduler.now, process.time_limit)
        call.slept = -host.slept
        call.skew = host.skew
        self.calls.append(call)
        self.note("call", host.name, by, method, arguments)
        given = arguments
        if method == "create_changes":
            given = {"changes": list(self.batches[by].changes), "idempotency_key": self.batches[by].key}
        try:
            response = getattr(process.storage, method)(**given)
            call.response = tuple(response) if method == "verify" else response
        except Exception as error:
            call.error = error
        self._order += 1
        call.ended = (self._order, self.scheduler.now)
        call.slept += host.slept
        self.note("return", call)
        return call

    def _make_batch(self, reuses: Batch | None = None) -> int:
        """Make a batch; with `reuses`, one for the same project with the key of that batch."""
        random = self.random
        number = len(self.batches)
        both = reuses is None and random.random() < 0.1
        project = random.choice(PROJECTS) if reuses is None else reuses.cids[0][0]
        changes = []
        for place in range(random.choice(self._shapes)):
            changes.append(
                NewChange(
                    project_id=random.choice(PROJECTS) if both else project,
                    entity_type=random.choice(TYPES),
                    entity_id=f"e{place}",
                    operation=random.choice(OPERATIONS),
                    data={"text": "x" * random.choice((0, 10, 500))},
                    cid=f"{number}.{place}",
                )
            )
        key = f"key-of-batch-{number:06}" if random.random() < 0.75 else None
        cids = tuple((str(change.project_id), str(change.cid)) for change in changes)
        invalid = None
        if reuses is not None:
            key = reuses.key
        elif random.random() < 0.03:
            invalid = random.randrange(len(changes))
            changes[invalid] = changes[invalid].replace(project_id=None)
        self.batches.append(Batch(number, key, cids, tuple(changes), reuses and reuses.number, invalid))
        return number

    def _write(self, script: list[int]) -> None:
        """Send batches one after the other; repeat one with an idempotency key up to four times until it is stored."""
        while script:
            batch = self.batches[script[0]]
            if batch.key is None:
                script.pop(0)  # before it is sent: if the process dies, the batch must not be sent again
            if batch.invalid is None:
                self.open_batches.add(batch.number)
            for _ in range(4):
                call = self._call(batch.number, "create_changes")
                if call.error is None and batch.key is not None and self.random.random() < 0.2:
                    self._call(batch.number, "create_changes")
                if call.error is None and self.random.random() < 0.3:
                    self._read_back(batch, call.response.seqs)
                if call.error is None and batch.key is not None and self.random.random() < 0.15:
                    self._call(self._make_batch(batch), "create_changes")
                if call.error is None or batch.key is None or batch.invalid is not None:
                    break
                self.scheduler.sleep(self.random.choice((0.01, 1.0, 10.0)) * self.random.random())
            if batch.key is not None:
                script.pop(0)
            self.scheduler.sleep(self.random.random() * 0.05)

    def _read_back(self, batch: Batch, seqs: tuple[int, ...]) -> None:
        """Read the changes that were just written, from a cursor before or within them."""
        project = batch.cids[-1][0]
        cursor = self.random.choice((seqs[-1], max(0, seqs[-1] - len(seqs)))) - self.random.randint(0, 1)
        self._call(-1, "get_changes_with_cursor", cursor=max(0, cursor), limit=1000, project_id=project, chain=None)

    def _read(self, reader: Reader, rounds: int) -> None:
        """Read a log page by page, and send the link at the cursor."""
        for _ in range(rounds):
            call = self._call(
                reader.number,
                "get_changes_with_cursor",
                cursor=reader.cursor,
                limit=self.random.choice((1, 2, 5, 1000)),
                project_id=reader.project,
                chain=reader.link,
            )
            if call.error is None:
                reader.cursor, reader.link = call.response.through, call.response.chain
            elif isinstance(call.error, ChainMismatch) and self.restored:
                reader.cursor, reader.link = 0, GENESIS
            self.scheduler.sleep(self.random.choice((0.005, 0.05, 1.0)) * self.random.random())

    def _query_everything(self) -> None:
        for _ in range(self.random.randint(2, 6)):
            project = self.random.choice(PROJECTS)
            kind = self.random.randrange(6)
            if kind == 0:
                self._call(-1, "get_change_stats", project_id=project)
            elif kind == 1:
                self._call(-1, "get_entity_type_stats", project_id=project)
            elif kind == 2:
                self._call(-1, "get_head", project_id=project)
            elif kind == 3:
                self._call(-1, "get_all_projects")
            else:
                head = self._call(-1, "get_head", project_id=project)
                if head.error is None and head.response.seq:
                    seq = self.random.randint(1, head.response.seq)
                    self._call(-1, "get_change", seq=seq, project_id=project)
                    if kind == 5 and seq < head.response.seq:
                        by = self.random.randint(seq + 1, head.response.seq)
                        self._call(-1, "mark_as_outdated", seq=seq, outdated_by=by, project_id=project)
                        by = self.random.randint(seq + 1, by)  # not higher, so it has no effect
                        self._call(-1, "mark_as_outdated", seq=seq, outdated_by=by, project_id=project)
            self.scheduler.sleep(self.random.random() * 0.5)

    def _verify_and_repair(self) -> None:
        """Verify and repair logs while others write to them. A repair of a correct log must not change it."""
        for _ in range(self.random.randint(1, 6)):
            project = self.random.choice(PROJECTS)
            if self.random.random() < 0.7:
                self._call(-1, "verify", project_id=project)
            else:
                self._call(-1, "repair", project_id=project, dry_run=False)
            self.scheduler.sleep(self.random.random() * 0.1)

    def _verify_again_and_again(self) -> None:
        """Verify logs while transactions are in flight, half of which a query can see."""
        for _ in range(12):
            self._call(-1, "verify", project_id=self.random.choice(PROJECTS))
            self.scheduler.sleep(self.random.random() * 0.02)

    # The end

    def _restore(self) -> None:
        """Restore the table to its state before some of the last writes; this may leave half a transaction."""
        back = self.random.randint(1, 6)
        torn = self.random.choice((0, 0, 1, 2, 4))
        self.model.restore(lambda: self.model.version - back - self.random.randint(0, torn))
        self._order += 1
        self.restored.append(Restored(self._order, torn > 0))
        self.note("restore", back, torn)

    def _settle(self) -> None:
        """Stop all faults, and send the batches that were not stored again from a new process."""
        self.faults.disabled = True
        self._order += 1
        self._settled = self._order
        for process in self.processes:
            process.host.alive = False
        process = self._start_process(skewed=False)

        def send_again() -> None:
            for project in PROJECTS if self.restored else ():
                self._repair(project)
            stored = {call.by for call in self.calls if call.method == "create_changes" and call.acknowledged}
            for number in sorted(self.open_batches):
                if self.batches[number].key is not None and (number not in stored or self.random.random() < 0.3):
                    self._call(number, "create_changes")
            for reader in self.readers:
                self._read(reader, 2)

        self.scheduler.spawn(process.host, send_again)
        self.scheduler.run()

    def _replay_late(self) -> None:
        """Let 399 days pass, in which DynamoDB deletes what has expired; send each stored batch with a key again."""
        stored = {call.by for call in self.calls if call.method == "create_changes" and call.acknowledged}
        self.scheduler.later(DAYS * 86_400.0, lambda: None)
        self.scheduler.run()
        self.model.expire()
        process = self._start_process(skewed=False)
        self._order += 1
        self._late = self._order

        def send_again() -> None:
            for batch in self.batches:
                if batch.key is not None and (batch.number in stored or batch.reuses in stored):
                    self._call(batch.number, "create_changes")

        self.scheduler.spawn(process.host, send_again)
        self.scheduler.run()

    def _repair(self, project: str) -> None:
        """Repair a log like an operator after a restore; if two histories are mixed, accept the changes as they are."""
        repair = self._call(-1, "repair", project_id=project, dry_run=False)
        if isinstance(repair.error, LogDamaged):
            found = self._call(-1, "verify", project_id=project).response
            first = min(finding.first for finding in found if finding.kind == "broken-link")
            self._call(-1, "repair", project_id=project, dry_run=False, relink_from=first)

    def _read_final_state(self) -> tuple[dict[str, Logs], tuple[str, ...]]:
        """Read all logs, with a storage without a planted bug."""
        process = self._start_process(Parts(), skewed=False)
        final: dict[str, Logs] = {}
        found: list[str] = []

        def read() -> None:
            storage = process.storage
            for project in PROJECTS:
                changes: list[Any] = []
                error: SlttError | None = None
                stats = ChangeStats(0, 0, 0, 0)
                types: dict[str, int] = {}
                findings: tuple[str, ...] = ()
                try:
                    changes.extend(storage.get_changes_since(project_id=project))
                    stats, types = storage.get_stats(project_id=project)
                    findings = tuple(map(str, storage.verify(project_id=project)))
                except SlttError as caught:
                    error = caught
                final[project] = Logs(tuple(changes), stats, types, error, findings)
            found.extend(storage.get_all_projects().projects)

        self.scheduler.spawn(process.host, read)
        self.scheduler.run()
        return final, tuple(found)


class Reader:
    """A client that reads a log page by page: its position."""

    def __init__(self, number: int, project: str) -> None:
        self.number = number
        self.project = project
        self.cursor = 0
        self.link: str | None = GENESIS
