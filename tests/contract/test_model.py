"""After any operations in any order, the log equals a simple model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sltt_core.base.errors import KeyReused, NotFound, PartialAppend, StorageBusy
from sltt_core.model.chain import GENESIS, check_links
from sltt_core.model.changes import NewChange
from tests.contract.logs import DIRECT, everything, new

PROJECTS = ["a", "a.b", "B"]
changes = st.builds(
    new,
    entity_id=st.sampled_from(["x", "y", '"quoted"', "🤟"]),
    project_id=st.sampled_from(PROJECTS),
    entity_type=st.sampled_from(["note", "video"]),
    operation=st.sampled_from([None, "create", "update", "delete"]),
    data=st.sampled_from(["{}", '{"a": 1}', '{ "b":[1.0,"\\u00e9"]}']),
)
batches = st.lists(changes, min_size=1, max_size=12)
keys = st.sampled_from([None, *(f"key-{number:012}" for number in range(4))])


class LogMachine(RuleBasedStateMachine):
    """A storage with chunks of five changes beside a dictionary of lists."""

    make: Any

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.log = self.make(self.folder)
        self.storage = self.log.open(chunk_changes=5)
        self.model: dict[str, list[NewChange]] = {project: [] for project in PROJECTS}
        self.outdated: dict[tuple[str, int], int] = {}
        self.requests: dict[tuple[str, str], tuple[list[NewChange], list[int | None]]] = {}

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            shutil.rmtree(self.folder)

    @rule(batch=batches, key=keys, fail_after=st.sampled_from([None, None, 0, 1, 2]))
    def append(self, batch: list[NewChange], key: str | None, fail_after: int | None) -> None:
        """Append; with a key that was used, either the same batch or another; at times with a failure midway."""
        known = {self.requests[p, key][0] is not batch for p in PROJECTS if key and (p, key) in self.requests}
        if key and known and len(batch) % 2:  # half the time, retry what was sent under the key before
            batch = next(self.requests[p, key][0] for p in PROJECTS if (p, key) in self.requests)
        append = self.storage._append
        left = [len(batch) if fail_after is None else fail_after]

        def guarded(chunk: Any) -> Any:
            if left[0] == 0:
                raise StorageBusy("not now")
            left[0] -= 1
            return append(chunk)

        self.storage._append = guarded
        try:
            seqs: list[int | None] = list(self.storage.create_changes(batch, key).seqs)
        except KeyReused:
            seqs = []
        except StorageBusy:
            seqs = [None] * len(batch)
        except PartialAppend as error:
            seqs = list(error.seqs)
            if isinstance(error.cause, KeyReused):
                assert key
        finally:
            self.storage._append = append
        self._expect(batch, key, seqs)

    def _expect(self, batch: list[NewChange], key: str | None, seqs: list[int | None]) -> None:
        """Check the response against the model, and advance the model."""
        for place, seq in enumerate(seqs):
            if seq is None:
                continue
            project = str(batch[place].project_id)
            log = self.model[project]
            before = self.requests.get((project, key)) if key else None
            if before is not None and before[1][place : place + 1] == [seq]:
                assert before[0] == batch
                assert log[seq - 1] == batch[place]
            else:
                assert seq == len(log) + 1
                log.append(batch[place])
            if key:
                sent, numbers = self.requests.setdefault((project, key), (batch, [None] * len(batch)))
                assert sent == batch
                numbers[place] = seq

    @rule(project=st.sampled_from(PROJECTS), cursor=st.integers(0, 30), limit=st.integers(1, 10))
    def read(self, project: str, cursor: int, limit: int) -> None:
        page = self.storage.get_changes_with_cursor(cursor, limit, project_id=project)
        expected = self.model[project][cursor : cursor + limit]
        assert [c.entity_id for c in page.changes] == [c.entity_id for c in expected]

    @rule(project=st.sampled_from(PROJECTS), seq=st.integers(1, 10), later=st.integers(1, 10))
    def mark(self, project: str, seq: int, later: int) -> None:
        try:
            self.storage.mark_as_outdated(seq, seq + later, project_id=project)
        except NotFound:
            assert seq + later > len(self.model[project])
        else:
            self.outdated[project, seq] = max(seq + later, self.outdated.get((project, seq), 0))

    @rule()
    def reopen(self) -> None:
        self.storage.close()
        self.storage = self.log.open(chunk_changes=5)

    @invariant()
    def the_log_is_the_model(self) -> None:
        if not hasattr(self, "log"):
            return
        for project, expected in self.model.items():
            found = everything(self.storage, project)
            check_links(GENESIS, found)
            assert [c.seq for c in found] == list(range(1, len(expected) + 1))
            assert [c.data_json for c in found] == [c.data_json for c in expected]
            assert [c.outdated_by for c in found] == [self.outdated.get((project, c.seq)) for c in found]
            stats = self.storage.get_change_stats(project_id=project)
            operations = [c.operation for c in found]
            counts = tuple(operations.count(name) for name in ("create", "update", "delete"))
            assert stats.as_tuple() == (len(expected), *counts)
            types = [c.entity_type for c in found]
            assert self.storage.get_entity_type_stats(project_id=project) == {
                t: types.count(t) for t in sorted(set(types))
            }
        assert list(self.storage.get_all_projects().projects) == sorted(p for p, log in self.model.items() if log)


@pytest.mark.parametrize("make", DIRECT, ids=lambda made: made.name)
def test_the_log_behaves_as_its_model(make: Any) -> None:
    machine = type("Machine", (LogMachine,), {"make": staticmethod(make)})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=20, deadline=None))
