"""`TeamWorld`: runs one schedule with members: people send requests to the API of several processes.

Each process has an `Api` with its own `RoleAccess`, so what one remembers of the members differs from the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from sltt_core.api.access import Principal
from sltt_core.api.app import Api
from sltt_core.api.http import Request, Response
from sltt_core.api.roles import RoleAccess
from sltt_core.api.waiting import Waiting
from tests.simulation.history import History, Sent
from tests.simulation.permissions import ALLOWED, outcome
from tests.simulation.process import TABLE, Parts, Process
from tests.simulation.world import PROJECTS, World

PEOPLE = ("ann", "bob", "eve#p", "q")
"""One has a name that could be confused with a key of the storage, and one that of a project."""
ROLES = ("owner", "editor", "editor", "viewer")
LAG = 2.0
"""How many seconds an eventually consistent read may be behind. AWS: "usually one second or less"."""
PAUSES = (0.01, 0.5, 3.0, 20.0, 60.0)
"""How long clients pause between two requests, in seconds: a random part of one of these."""


class TeamWorld(World):
    """Runs one schedule with members."""

    def __init__(self, seed: int, parts: Parts = Parts(), *, tracing: bool = False) -> None:  # noqa: B008
        super().__init__(seed, parts, tracing=tracing)
        self.network.lag = LAG
        self.sent: list[Sent] = []
        self._apis: dict[str, Api] = {}
        self._posts: list[tuple[str, str, Request, tuple[str, ...]]] = []
        """The appends so far, to send them again: sender, project, request and changes."""
        self._changes = 0
        self._waiting: list[tuple[str, str]] = []
        """Who waits for a change of which project."""

    def _start_process(self, parts: Parts | None = None, *, skewed: bool = True) -> Process:
        process = super()._start_process(parts, skewed=skewed)
        access = RoleAccess(process.storage, runtime=process.runtime)
        self._apis[process.host.name] = Api(process.storage, access=access, runtime=process.runtime)
        return process

    def _start_clients(self) -> None:
        for _ in range(self.random.randint(2, 3)):
            self._start_process()
        for number in range(self.random.randint(2, 4)):
            steps = [None] * self.random.randint(6, 14)
            self._begin(lambda steps=steps: self._work(steps), number * 0.01)  # type: ignore[misc]

    def _work(self, steps: list[None]) -> None:
        """Send requests of people to the process that this runs on; go on after the last one if it died."""
        while steps:
            steps.pop()
            project = self.random.choice((PROJECTS[0], *PROJECTS))
            person = self.random.choice(self._allowed(project) if self.random.random() < 0.5 else PEOPLE)
            self.random.choice(_STEPS)(self, person, project)
            self.scheduler.sleep(self.random.choice(PAUSES) * self.random.random())

    def _allowed(self, project: str) -> Sequence[str]:
        """Return who was allowed something in a project lately; everyone if nobody was."""
        allowed = [sent.principal for sent in self.sent[-30:] if sent.project == project and sent.refusal == ALLOWED]
        return allowed or PEOPLE

    # What a person does

    def _append(self, person: str, project: str) -> None:
        cids = []
        changes = []
        for _ in range(self.random.choice((1, 1, 2, 4))):
            self._changes += 1
            cids.append(f"c-{self._changes}")
            changes.append({"projectId": project, "entityType": "note", "entityId": "n", "data": {}, "cid": cids[-1]})
        headers = {"content-type": "application/json", "idempotency-key": f"key-of-batch-{len(self._posts):06}"}
        request = Request("POST", "/api/changes", "", headers, json.dumps(changes).encode(), Principal(person))
        self._posts.append((person, project, request, tuple(cids)))
        self._post(self._posts[-1])

    def _replay(self, person: str, project: str) -> None:
        """Send a batch again that any client has sent: perhaps it is no member any more."""
        if self._posts:
            self._post(self.random.choice(self._posts))

    def _post(self, post: tuple[str, str, Request, tuple[str, ...]]) -> None:
        person, project, request, cids = post
        self._pass(request, self._new(person, "append", project, cids=cids))

    def _read_something(self, person: str, project: str) -> None:
        path = self.random.choice(("changes", "changes", "members", "stats"))
        self._pass(_get(person, f"/api/projects/{project}/{path}"), self._new(person, "read", project))

    def _wait(self, person: str, project: str) -> None:
        """Wait for a change after the last one, like a server: the request is passed to the API until it has one."""
        path, query = f"/api/projects/{project}/changes", "limit=1000"
        response = self._pass(_get(person, path, query), self._new(person, "read", project))
        if response.status != 200:
            return
        through = json.loads(response.content)["through"]
        seconds = self.random.choice((20, 60))
        request = _get(person, path, f"cursor={through}&wait={seconds}")
        response = self._pass(request, self._new(person, "read", project))
        waiting = Waiting(response.wait, self.scheduler.now)
        self._waiting.append((person, project))
        while left := waiting.seconds_left(response.wait, self.scheduler.now):
            self.scheduler.sleep(min(left, 0.1 + 5 * self.random.random()))
            response = self._pass(request, self._new(person, "read", project))
        self._waiting.remove((person, project))

    def _list(self, person: str, project: str) -> None:
        sent = self._new(person, "list", "")
        response = self._pass(_get(person, "/api/projects"), sent)
        if response.status == 200:
            sent.listed = json.loads(response.content)["projects"]

    def _give(self, person: str, project: str) -> None:
        other, role = self.random.choice(PEOPLE), self.random.choice(ROLES)
        body = json.dumps({"role": role}).encode()
        request = Request("PUT", _member(project, other), "", {"content-type": "application/json"}, body)
        self._grant(request, person, project, other, role)

    def _give_often(self, person: str, project: str) -> None:
        """Give a role in the name of somebody who was an owner a moment ago, so that it has an effect."""
        self._give(self._owner(project) or person, project)

    def _take(self, person: str, project: str) -> None:
        """Take the role of somebody away, often of one who waits for a change."""
        other = self.random.choice([name for name in PEOPLE if name != person])
        if self._waiting and self.random.random() < 0.9:
            other, project = self.random.choice(self._waiting)
        self._grant(Request("DELETE", _member(project, other)), self._owner(project) or person, project, other, "none")

    def _leave(self, person: str, project: str) -> None:
        self._grant(Request("DELETE", _member(project, person)), person, project, person, "none")

    def _owner(self, project: str) -> str | None:
        """Return the sender of the last request that gave a role."""
        done = [sent for sent in self.sent if sent.project == project and sent.status == 200 and sent.action != "read"]
        owners = [sent.principal for sent in done if sent.action == "grant"] or [sent.principal for sent in done[:1]]
        return owners[-1] if owners else None

    def _grant(self, request: Request, person: str, project: str, other: str, role: str) -> None:
        action = "leave" if (other, role) == (person, "none") else "grant"
        sent = self._new(person, action, project, grants=(other, role))
        response = self._pass(request.replace(principal=Principal(person)), sent)
        if response.status == 200:
            sent.version = json.loads(response.content)["version"]

    def _verify(self, person: str, project: str) -> None:
        """Verify a log, or repair it, like an operator while others give and take roles."""
        if self.random.random() < 0.7:
            self._call(-1, "verify", project_id=project)
        else:
            self._call(-1, "repair", project_id=project, dry_run=False)

    def _new(
        self,
        person: str,
        action: str,
        project: str,
        cids: tuple[str, ...] = (),
        grants: tuple[str, str] | None = None,
    ) -> Sent:
        process = self._here()
        self._order += 1
        sent = Sent(process.host.name, person, action, project, self._order, self.scheduler.now)
        sent.cids, sent.grants = cids, grants
        sent.slept, sent.time_limit = -process.host.slept, process.time_limit
        self.sent.append(sent)
        self.note("send", sent.host, person, action, project, cids, grants)
        return sent

    def _pass(self, request: Request, sent: Sent) -> Response:
        """Pass a request to the API of this process, and record its response."""
        response = self._apis[sent.host].handle(request)
        self._order += 1
        sent.ended = (self._order, self.scheduler.now)
        sent.slept += self._here().host.slept
        sent.status = response.status
        sent.refusal = outcome(response.status, {} if response.status == 200 else json.loads(response.content))
        if request.method == "DELETE" and sent.refusal == "not-found":
            sent.refusal = None  # or the other person was no member
        sent.error = response.error
        self.note("response", sent)
        return response

    # The end

    def _settle(self) -> None:
        """Stop all faults. Everyone reads both projects on each process, at once and after a minute."""
        self.faults.disabled = True
        self._order += 1
        self._settled = self._order

        def read() -> None:
            for pause in (70.0, 0.0):
                for person in PEOPLE:
                    for project in PROJECTS:
                        self._pass(_get(person, f"/api/projects/{project}/stats"), self._new(person, "read", project))
                self.scheduler.sleep(pause)
            for person in PEOPLE:
                self._list(person, "")

        for process in self.processes:
            if process.host.alive:
                self.scheduler.spawn(process.host, read)
        self.scheduler.run()

    def _replay_late(self) -> None:
        """Nothing: the keys are those of the other schedules."""

    def _history(self, stuck: int) -> History:
        history = super()._history(stuck)
        slots = {slot.order: slot for slot in self.model.table({"TableName": TABLE}).slots()}
        keyed = {(slot.key["pk"]["S"], int(slot.key["seq"]["N"])): slot for slot in slots.values()}
        return history._replace(
            sent=tuple(self.sent),
            written_at={
                project: [keyed[project, change.seq].versions[0].time for change in log.changes]
                for project, log in history.final.items()
            },
            lost={process.host.name: process.host.lost for process in self.processes},
            lag=LAG,
        )


_STEPS: tuple[Any, ...] = (
    TeamWorld._append,
    TeamWorld._append,
    TeamWorld._replay,
    TeamWorld._replay,
    TeamWorld._read_something,
    TeamWorld._read_something,
    TeamWorld._wait,
    TeamWorld._wait,
    TeamWorld._list,
    TeamWorld._give,
    TeamWorld._give_often,
    TeamWorld._give_often,
    TeamWorld._take,
    TeamWorld._take,
    TeamWorld._leave,
    TeamWorld._verify,
)
"""What a client does next: one of these, each with the same probability."""


def _get(person: str, path: str, query: str = "") -> Request:
    return Request("GET", path, query, principal=Principal(person))


def _member(project: str, person: str) -> str:
    return f"/api/projects/{project}/members/{quote(person, safe='')}"
