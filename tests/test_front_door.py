"""The public names: what the front doors promise, and their signatures."""

from __future__ import annotations

import ast
import importlib
import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any

import pytest

import aws_backend
import sltt_core

DOORS = (sltt_core, aws_backend)


def typed_names(door: ModuleType) -> dict[str, str]:
    """The names that a type checker sees, with the modules that they come from."""
    tree = ast.parse(Path(str(door.__file__)).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{door.__name__}.")
        for alias in node.names
    }


@pytest.mark.parametrize("door", DOORS)
def test_the_lists_of_a_front_door_have_the_same_names(door: ModuleType) -> None:
    rooms = {name: f"{door.__name__}.{room}" for room, names in door._ROOMS.items() for name in names.split()}
    assert typed_names(door) == rooms
    assert {*door.__all__} == rooms.keys()
    assert len(door.__all__) == len(set(door.__all__))
    assert dir(door) == sorted(door.__all__)


@pytest.mark.parametrize("door", DOORS)
def test_a_public_name_is_the_object_of_its_module(door: ModuleType) -> None:
    for room, names in door._ROOMS.items():
        module = importlib.import_module(f"{door.__name__}.{room}")
        for name in names.split():
            assert getattr(door, name) is getattr(module, name)


@pytest.mark.parametrize("door", DOORS)
def test_an_unknown_name_is_an_attribute_error(door: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{door.__name__}' has no attribute 'nothing'"):
        door.nothing  # noqa: B018


def test_a_front_door_loads_modules_on_first_use() -> None:
    program = "import sys; before = set(sys.modules); import sltt_core, aws_backend; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert set(run.stdout.split()) <= {"sltt_core", "aws_backend", "__future__"}


# The signatures.


def signature_of(value: Any) -> str:
    """A signature as one writes it; a default that is no plain value goes by its name."""
    signature = inspect.signature(value)
    parameters = [
        parameter.replace(annotation=as_written(parameter.annotation), default=as_named(parameter.default))
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters, return_annotation=as_written(signature.return_annotation)))


class Text:
    """A text that is its own representation."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def as_written(annotation: Any) -> Any:
    return Text(annotation) if isinstance(annotation, str) else annotation


def as_named(default: Any) -> Any:
    """The default, or its name: `time_ns` for a function, `environ` for an object of the type `_Environ`."""
    if default is inspect.Parameter.empty or type(default) in (
        str,
        int,
        float,
        bool,
        bytes,
        tuple,
        frozenset,
        NoneType,
    ):
        return default
    kind = type(default).__name__
    return Text(getattr(default, "__qualname__", None) or (kind[1:].lower() if kind.startswith("_") else kind))


def signatures(door: ModuleType) -> list[str]:
    """A line for each public name, and one for each public method that its class defines."""
    lines = []
    for name in sorted({*door.__all__} - {"__version__"}):
        value = getattr(door, name)
        if not callable(value):
            lines.append(f"{name}: {type(value).__name__}")
            continue
        try:
            lines.append(f"{name}{signature_of(value)}")
        except ValueError:  # an exception with the constructor of `Exception`
            lines.append(f"{name}: {value.__base__.__name__}")
        for method, function in methods_of(value) if isinstance(value, type) else ():
            if isinstance(function, classmethod):
                function = getattr(value, method)
            if not method.startswith("_") and inspect.isroutine(function):
                lines.append(f"{name}.{method}{signature_of(function)}")
            elif not method.startswith("_") and isinstance(function, property) and method not in fields_of(value):
                annotations: dict[str, str] = getattr(function.fget, "__annotations__", {})
                lines.append(f"{name}.{method} -> {annotations['return']}")
    return sorted(lines)


def methods_of(value: type) -> list[tuple[str, Any]]:
    """What a class defines, or a base class that is a part of it: one of ours that is not public itself."""
    parts = [
        base
        for base in value.__bases__
        if base.__module__.startswith("sltt_core.") and not any(base.__name__ in door.__all__ for door in DOORS)
    ]
    return [pair for kind in (value, *parts) for pair in vars(kind).items()]


def fields_of(value: type) -> tuple[str, ...]:
    fields: tuple[str, ...] = getattr(value, "fields", ())
    return fields


SIGNATURES = {
    "sltt_core": """
Access()
Access.authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None
Access.is_admin(self, principal: Principal | None) -> bool
Access.members_changed(self, project_id: str, members: Members) -> None
Access.owners(self, principal: Principal | None, project_ids: Iterable[str]) -> Mapping[str, str]
Access.project_exists(self, project_id: str) -> None
Access.visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None
AccessLog(stream: TextIO | None = None, *, errors_only: bool = False, requests: str = 'all', sample: float =
    1.0, runtime: Runtime = Runtime) -> None
AccessLog.dropped -> int
AccessLog.flush(self, seconds: float = 1.0) -> bool
AccessLog.write(self, entry: AccessEntry) -> None
AccessRevoked(message: str, *, hint: str | None = None) -> None
AllowAll()
AllowAll.authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None
AllowAll.visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None
Api(storage: BaseStorageService, server_name: str = 'sltt', *, access: Access | None = None, authenticator:
    Authenticator | None = None, cors: Sequence[str] = (), cors_setting: str = '--cors', runtime: Runtime =
    Runtime, report: Callable[[BaseException], None] | None = None, checks: Sequence[Callable[[], str | None]] =
    ()) -> None
Api.failed(self, error: Exception, request: Request) -> Response
Api.handle(self, request: Request) -> Response
Api.problem(self, error: SlttError, request: Request) -> Response
Api.refuse_all_but_admins(self, request: Request, methods: Sequence[str], *, everyone: bool = False) -> Response
    | None
Api.request_id(self, headers: Mapping[str, str]) -> str
ApiProblem(status: int, type: str, title: str, detail: str, extensions: Mapping[str, Any]) -> None
AppendResult(seqs: tuple[int, ...], replayed: bool, timestamp: str)
Appended(seqs: tuple[int, ...], replayed: bool)
Arrived(project_id: str, first: int, last: int, own: int)
AsyncDevice(*args: Any, **options: Any) -> None
AsyncDevice.drop(self, cid: str) -> Outsync
AsyncDevice.edit(self, cid: str, data: Mapping[str, object] | str) -> Outsync
AsyncDevice.fetch(self) -> SyncStatus
AsyncDevice.follow(self, *project_ids: str) -> None
AsyncDevice.outbox(self, project_id: str | None = None, *states: str) -> list[Outsync]
AsyncDevice.pause(self, project_id: str) -> None
AsyncDevice.project(self, project_id: str) -> AsyncProject
AsyncDevice.purge(self, project_id: str) -> None
AsyncDevice.rejected(self, project_id: str | None = None) -> list[Outsync]
AsyncDevice.resync(self, project_id: str) -> ProjectResult
AsyncDevice.retry(self, cid: str) -> Outsync
AsyncDevice.start(self) -> None
AsyncDevice.status(self) -> SyncStatus
AsyncDevice.stop(self) -> None
AsyncDevice.sync(self, *project_ids: str) -> SyncResult
AsyncDevice.watch(self, project_id: str | None = None) -> AsyncIterator[AsyncEvents]
AsyncProject(project: DeviceProject) -> None
AsyncProject.changes(self, after: int = 0) -> list[Change]
AsyncProject.create(self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /,
    **fields: object) -> Outsync
AsyncProject.delete(self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /,
    **fields: object) -> Outsync
AsyncProject.outbox(self) -> list[Outsync]
AsyncProject.rejected(self) -> list[Outsync]
AsyncProject.status(self) -> ProjectStatus | None
AsyncProject.sync(self) -> ProjectResult
AsyncProject.transaction(self) -> AsyncIterator[Unit]
AsyncProject.update(self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /,
    **fields: object) -> Outsync
Authenticator()
Authenticator.authenticate(self, headers: Mapping[str, str]) -> Principal
Authenticator.metadata(self, headers: Mapping[str, str]) -> dict[str, Any]
BaseStorageService(project_id: str | None = None, *, runtime: Runtime = Runtime, chunk_changes: int = 98,
    chunk_bytes: int = 3500000, page_bytes: int = 4000000) -> None
BaseStorageService.accept_invitation(self, invitation_id: str, principal: str) -> tuple[Invitation, Members]
BaseStorageService.check(self) -> None
BaseStorageService.close(self) -> None
BaseStorageService.create_change(self, change: NewChange, idempotency_key: str | None = None) -> Change
BaseStorageService.create_changes(self, changes: Sequence[NewChange], idempotency_key: str | None = None, *,
    owners: Mapping[str, str] = dict, if_head: int | None = None) -> Appended
BaseStorageService.create_invitation(self, invitation_id: str, digest: bytes, role: Role, *, days: int = 7,
    uses: int = 1, project_id: str | None = None, created_by: str | None = None) -> Invitation
BaseStorageService.create_token(self, token_id: str, digest: bytes, role: Role, name: str, *, project_id: str |
    None = None, created_by: str | None = None) -> tuple[Token, Members]
BaseStorageService.extend_token(self, token: Token) -> bool
BaseStorageService.gauges(self) -> dict[str, float]
BaseStorageService.get_all_projects(self, cursor: str | None = None, limit: int = 1000) -> ProjectsPage
BaseStorageService.get_change(self, seq: int, *, project_id: str | None = None) -> Change
BaseStorageService.get_change_stats(self, *, project_id: str | None = None) -> ChangeStats
BaseStorageService.get_changes_not_outdated(self, cursor: int = 0, limit: int = 1000, *, project_id: str | None
    = None, chain: str | None = None) -> Page
BaseStorageService.get_changes_since(self, cursor: int = 0, *, project_id: str | None = None, chain: str | None
    = None) -> Iterator[Change]
BaseStorageService.get_changes_with_cursor(self, cursor: int = 0, limit: int = 1000, *, project_id: str | None =
    None, chain: str | None = None, filter: ChangeFilter = ChangeFilter) -> Page
BaseStorageService.get_ends(self, project_ids: Iterable[str]) -> dict[str, Head]
BaseStorageService.get_entity_type_stats(self, *, project_id: str | None = None) -> dict[str, int]
BaseStorageService.get_head(self, *, project_id: str | None = None) -> Head
BaseStorageService.get_heads(self, project_ids: Iterable[str]) -> dict[str, int]
BaseStorageService.get_invitation(self, invitation_id: str) -> Invitation | None
BaseStorageService.get_invitations(self, cursor: str | None = None, limit: int = 1000, *, project_id: str | None
    = None) -> InvitationsPage
BaseStorageService.get_members(self, *, project_id: str | None = None) -> Members
BaseStorageService.get_projects_of(self, principal: str, cursor: str | None = None, limit: int = 1000) ->
    ProjectsPage
BaseStorageService.get_stats(self, *, project_id: str | None = None) -> tuple[ChangeStats, dict[str, int]]
BaseStorageService.get_stats_with_head(self, *, project_id: str | None = None) -> tuple[ChangeStats, dict[str,
    int], Head]
BaseStorageService.get_token(self, token_id: str) -> Token | None
BaseStorageService.get_tokens(self, cursor: str | None = None, limit: int = 1000, *, project_id: str | None =
    None) -> TokensPage
BaseStorageService.initialize(self) -> None
BaseStorageService.mark_as_outdated(self, seq: int, outdated_by: int, *, project_id: str | None = None) ->
    Change
BaseStorageService.observe(self, observer: Observer) -> None
BaseStorageService.page_bytes -> int
BaseStorageService.place -> str
BaseStorageService.repair(self, *, project_id: str | None = None, dry_run: bool = True, relink_from: int | None
    = None, progress: Progress = Upkeep.<lambda>) -> Report
BaseStorageService.restore_changes(self, changes: Iterable[Change]) -> Head
BaseStorageService.revoke_token(self, token_id: str, *, project_id: str | None = None, revoked_by: str | None =
    None) -> tuple[Token, Members]
BaseStorageService.set_role(self, principal: str, role: Role, *, project_id: str | None = None, granted_by: str
    | None = None) -> Members
BaseStorageService.verify(self, *, project_id: str | None = None, requests: bool = True, progress: Progress =
    Upkeep.<lambda>) -> Iterator[Finding]
BaseStorageService.wait_for_any(self, cursors: Mapping[str, int], timeout: float) -> bool
BaseStorageService.wait_for_changes(self, cursor: int, timeout: float, *, project_id: str | None = None) -> bool
BaseStorageService.wait_for_write(self, mark: object, seconds: float) -> None
BaseStorageService.withdraw_invitation(self, invitation_id: str, *, project_id: str | None = None) -> Invitation
BaseStorageService.write_mark(self) -> object
Cancelled(message: str, *, sent: bool) -> None
ChainMismatch(message: str, *, hint: str | None = None) -> None
Change(project_id: str, seq: int, entity_type: str, entity_id: str, operation: str, timestamp: str, cloud_at:
    str, data_json: str, outdated_by: int | None, cid: str | None, change_by: str | None, chain: str,
    request_key: str | None = None)
Change.data -> dict[str, Any]
Change.to_json(self, *, data_text: bool = False) -> str
ChangeFilter(entity_types: frozenset[str] = frozenset(), entity_ids: frozenset[str] = frozenset(), outdated:
    bool = True)
ChangeFilter.matches(self, change: Change) -> bool
ChangeStats(total: int, creates: int, updates: int, deletes: int)
Client(server: str, *, token: str | None = None, headers: Mapping[str, str] = dict, timeout: float = 30.0, user:
    str | None = None, runtime: Runtime = Runtime, transport: Any = None, cancelled: Callable[[], bool] | None =
    None, progress: Progress | None = None, environ: Mapping[str, str] = environ) -> None
Client.accept_invitation(self, code: str) -> tuple[str, RemoteMember]
Client.append(self, changes: Iterable[NewChange | Mapping[str, Any]], *, key: str | None = None, if_head: int |
    None = None) -> AppendResult
Client.append_body(self, body: bytes, *, key: str, if_head: int | None = None) -> AppendResult
Client.cancel_no_more(self, cancelled: Callable[[], bool]) -> None
Client.cancel_when(self, cancelled: Callable[[], bool]) -> None
Client.change(self, project_id: str, seq: int) -> Change
Client.changes_after(self, project_id: str, cursor: int = 0, *, limit: int = 1000, chain: str | None = None,
    wait: float = 0, data_text: bool = True) -> RemotePage
Client.close(self) -> None
Client.heads(self, ends: Mapping[str, tuple[int, str | None]], *, wait: float = 0) -> Heads
Client.health(self) -> Health
Client.mark_as_outdated(self, project_id: str, seq: int, outdated_by: int) -> Change
Client.me(self) -> Me
Client.members(self, project_id: str) -> tuple[RemoteMember, ...]
Client.projects(self, cursor: str | None = None, limit: int = 1000) -> ProjectsPage
Client.remove_member(self, project_id: str, principal: str) -> RemoteMember
Client.request(self, method: str, path: str, *, query: Mapping[str, object] | Iterable[tuple[str, object]] = (),
    headers: Mapping[str, str] = dict, body: bytes | None = None, wait: float = 0) -> RemoteResponse
Client.set_role(self, project_id: str, principal: str, role: str) -> RemoteMember
Client.stats(self, project_id: str) -> RemoteStats
CredentialExists(what: str, credential_id: str) -> None
Device(path: str | Path, server: str | None = None, *, user: str | None = None, token: str | None = None,
    headers: Mapping[str, str] = dict, client: Remote | None = None, runtime: Runtime = Runtime, busy_seconds:
    float = 10.0, ranges: int = 4) -> None
Device.close(self) -> None
Device.device_id -> str
Device.drop(self, cid: str) -> Outsync
Device.edit(self, cid: str, data: Mapping[str, object] | str) -> Outsync
Device.fetch(self) -> SyncStatus
Device.follow(self, *project_ids: str) -> None
Device.log -> DeviceLog
Device.open(self) -> None
Device.outbox(self, project_id: str | None = None, states: Collection[str] = ('waiting', 'frozen', 'sent',
    'held', 'withheld', 'rejected')) -> list[Outsync]
Device.pause(self, project_id: str) -> None
Device.project(self, project_id: str) -> DeviceProject
Device.purge(self, project_id: str) -> None
Device.rejected(self, project_id: str | None = None) -> list[Outsync]
Device.resync(self, project_id: str) -> ProjectResult
Device.retry(self, cid: str) -> Outsync
Device.start(self) -> None
Device.status(self) -> SyncStatus
Device.stop(self) -> None
Device.sync(self, *project_ids: str, notify: Notify | None = None) -> SyncResult
Device.watch(self, project_id: str | None = None) -> Iterator[Events]
DeviceLog(path: str | Path, project_id: str | None = None, *, runtime: Runtime = Runtime, busy_seconds: float =
    10.0, chunk_changes: int = 98, chunk_bytes: int = 3500000, page_bytes: int = 4000000) -> None
DeviceLog.create_change(self, *_: Any, **__: Any) -> NoReturn
DeviceLog.create_changes(self, *_: Any, **__: Any) -> NoReturn
DeviceLog.initialize(self) -> None
DeviceLog.mark_as_outdated(self, *_: Any, **__: Any) -> NoReturn
DeviceLog.open(self) -> None
DeviceLog.readers -> Readers
DeviceLog.restore_changes(self, *_: Any, **__: Any) -> NoReturn
DeviceLog.writer -> Writer
DeviceProject(device: Device, project_id: str) -> None
DeviceProject.changes(self, after: int = 0) -> Iterator[Change]
DeviceProject.collect(self) -> Iterator[tuple[Unit, bool]]
DeviceProject.create(self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /,
    **fields: object) -> Outsync
DeviceProject.delete(self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /,
    **fields: object) -> Outsync
DeviceProject.outbox(self, states: Collection[str] = ('waiting', 'frozen', 'sent', 'held', 'withheld',
    'rejected')) -> list[Outsync]
DeviceProject.rejected(self) -> list[Outsync]
DeviceProject.status(self) -> ProjectStatus | None
DeviceProject.sync(self) -> ProjectResult
DeviceProject.transaction(self) -> Iterator[Unit]
DeviceProject.update(self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /,
    **fields: object) -> Outsync
DeviceStore(path: str | Path, *, runtime: Runtime = Runtime, busy_seconds: float = 10.0) -> None
DeviceStore.accept(self, batch: Batch, seqs: Sequence[int]) -> list[Outsync]
DeviceStore.add_unit(self, unit: Sequence[Outsync]) -> None
DeviceStore.batches(self, project_id: str) -> list[Batch]
DeviceStore.close(self) -> None
DeviceStore.counts(self, project_id: str) -> dict[str, int]
DeviceStore.device_id -> str
DeviceStore.drop(self, cid: str) -> Outsync
DeviceStore.follow(self, project_id: str) -> None
DeviceStore.fork(self, project_id: str, seq: int) -> int | None
DeviceStore.head(self, project_id: str) -> Head
DeviceStore.in_batch(self, batch: Batch) -> list[Outsync]
DeviceStore.is_paused_by_user(self, project_id: str) -> bool
DeviceStore.last_sent(self, project_id: str) -> int | None
DeviceStore.lost(self, project_id: str) -> list[forks.Fork]
DeviceStore.lost_chunks(self, fork: forks.Fork) -> list[forks.Chunk]
DeviceStore.new_edit(self, project_id: str, entity_type: str, entity_id: str, operation: str, data: Mapping[str,
    object] | str, user: str | None, unit: int | None = None) -> Outsync
DeviceStore.next_batch(self, project_id: str, principal: str, *, max_bytes: int = 1000000, author: str | None =
    None) -> Batch | None
DeviceStore.note_heads(self, heads: Mapping[str, int]) -> None
DeviceStore.note_server(self, url: str | None) -> None
DeviceStore.note_synced(self, project_ids: Sequence[str]) -> None
DeviceStore.note_time(self, offset: int) -> None
DeviceStore.open(self) -> None
DeviceStore.outsync(self, cid: str) -> Outsync
DeviceStore.outsyncs(self, project_id: str | None = None, states: Collection[str] = ('waiting', 'frozen',
    'sent', 'held', 'withheld', 'rejected'), *, after: int = 0, limit: int = -1) -> list[Outsync]
DeviceStore.purge(self, project_id: str) -> None
DeviceStore.put_page(self, project_id: str, after: Head, changes: Sequence[Change], heard: int = 0) -> Arrival |
    None
DeviceStore.refuse(self, batch: Batch, problems: Mapping[int, str]) -> list[Outsync]
DeviceStore.rejoin(self, project_id: str) -> None
DeviceStore.replace_data(self, cid: str, data: Mapping[str, object] | str) -> Outsync
DeviceStore.retry(self, cid: str) -> Outsync
DeviceStore.send_again(self, project_id: str, end: int) -> None
DeviceStore.settle(self, batch: Batch) -> None
DeviceStore.state_of(self, project_id: str) -> str
DeviceStore.status(self) -> SyncStatus
DeviceStore.stop(self, project_id: str, state: str, kind: str, detail: str) -> None
DeviceStore.thaw(self, batch: Batch) -> None
Diverged(project_id: str, reason: str)
DownsyncResult(changes: int, own: int, through: int, trouble: Trouble | None = None)
Events(project_id: str | None = None) -> None
Events.get(self, timeout: float | None = None) -> Record | None
Events.put(self, event: Record | None) -> None
Failed(reason: str)
Finding(kind: str, first: int | None, last: int | None, detail: str = '', project_id: str = '', attribute: str |
    None = None, key: str | None = None, chunk: int | None = None)
Finding.joined(self, following: Finding) -> Finding | None
Finding.repairable -> bool
ForeignResponse(message: str, *, status: int, location: str | None = None) -> None
GENESIS: str
Head(seq: int, chain: str)
HeadMoved(message: str, seq: int, chain: str) -> None
HeadersTooLarge(message: str, *, hint: str | None = None) -> None
Heads(heads: Mapping[str, Head], diverged: tuple[str, ...], refused: tuple[str, ...], waited: float, max_wait:
    float, timestamp: str)
Health(status: str, server: str, storage_type: str, timestamp: str)
HostNotAllowed(message: str, *, hint: str | None = None) -> None
InvalidBatch(problems: Sequence[Problem], *, hint: str | None = None) -> None
InvalidBatch.failed_at_index -> int | None
InvalidBatch.rename(self, names: Mapping[str, str]) -> None
InvalidInput(message: str, *, field: str | None = None, hint: str | None = None) -> None
InvalidInput.rename(self, names: Mapping[str, str]) -> None
Invitation(id: str, hash: str, project_id: str, role: str, created_by: str | None, created_at: str, expires:
    int, uses: int)
IssuerUnavailable(message: str, *, hint: str | None = None) -> None
KeyReused(message: str, *, hint: str | None = None) -> None
LastOwner(message: str, *, hint: str | None = None) -> None
LocalStorageService(path: str | Path, project_id: str | None = None, *, runtime: Runtime = Runtime,
    busy_seconds: float = 10.0, chunk_changes: int = 98, chunk_bytes: int = 3500000, page_bytes: int = 4000000)
    -> None
LocalStorageService.check(self) -> None
LocalStorageService.close(self) -> None
LocalStorageService.gauges(self) -> dict[str, float]
LocalStorageService.initialize(self) -> None
LocalStorageService.place -> str
LocalStorageService.wait_for_write(self, mark: object, seconds: float) -> None
LocalStorageService.write_mark(self) -> object
LogDamaged(message: str, *, hint: str | None = None) -> None
Me(principal: str | None, admin: bool)
Member(role: str, since: int)
Members(roles: Mapping[str, Member])
Members.after(self, changes: Iterable[Change]) -> Members
Members.owners -> int
Members.version -> int
MethodNotAllowed(method: str, allow: Sequence[str]) -> None
NewChange(*, project_id: str | None = None, entity_type: str, entity_id: str, data: Mapping[str, object] | str,
    operation: Literal['create', 'update', 'delete'] | None = None, timestamp: str | None = None, cid: str |
    None = None, change_by: str | None = None, client_seq: int | None = None)
NewChange.data -> dict[str, Any]
NewChange.replace(self, **changes: Any) -> NewChange
NotALog(message: str, *, hint: str | None = None) -> None
NotAllowed(message: str, *, hint: str | None = None) -> None
NotFound(message: str, *, hint: str | None = None) -> None
Offline(reason: str, retry_seconds: float | None)
Online()
Outsync(local: int, unit: int, project_id: str, entity_type: str, entity_id: str, operation: str, timestamp:
    str, data_json: str, change_by: str | None, cid: str, base_seq: int, state: str, batch: int | None, seq: int
    | None, problem_json: str | None)
Outsync.data -> dict[str, Any]
Outsync.is_stored_as(self, change: Change) -> bool
Outsync.problem -> dict[str, Any] | None
Outsync.to_json(self) -> str
OutsyncResult(sent: tuple[str, ...] = (), replayed: tuple[str, ...] = (), rejected: tuple[str, ...] = (), held:
    int = 0, withheld: int = 0, waiting: int = 0, trouble: Trouble | None = None)
Page(changes: Sequence[Change], through: int, chain: str | None, cursor: int | None)
Page.changes_json(self) -> str
Page.state(self, cursor: int) -> str
Page.with_texts(self, max_bytes: int) -> tuple[Page, str]
PartialAppend(seqs: Sequence[int | None], cause: SlttError) -> None
PartialAppend.public_hint -> str
PartialAppend.rename(self, names: Mapping[str, str]) -> None
PayloadTooLarge(message: str, *, field: str | None = None, hint: str | None = None) -> None
Principal(id: str, claims: Mapping[str, object] = dict)
Problem(index: int | None, field: str, reason: str, too_large: bool = False)
Progress(project_id: str, direction: Literal['up', 'down'], done: int, total: int | None)
ProjectExists(message: str, *, hint: str | None = None) -> None
ProjectResult(project_id: str, outcome: Outcome, downsync: DownsyncResult, outsync: OutsyncResult)
ProjectResult.trouble -> Trouble | None
ProjectStatus(project_id: str, state: str, cursor: int, head: int, heard_at: str | None, synced_at: str | None,
    outbox: Mapping[str, int], problem: Mapping[str, Any] | None)
ProjectStatus.lag -> int
ProjectsPage(projects: tuple[str, ...], cursor: str | None)
Record(*args: Any, **kwargs: Any) -> Self
Record.as_tuple(self) -> tuple[Any, ...]
Record.of(values: Iterable[Any]) -> Self
Record.replace(self, **changes: Any) -> Self
Rejected(project_id: str, cid: str, reason: str)
RemoteError(message: str, *, hint: str | None = None) -> None
RemoteMember(principal: str, role: str, since: int)
RemotePage(changes: tuple[Change, ...], through: int, chain: str | None, cursor: int | None, waited: float,
    max_wait: float, timestamp: str)
RemoteStats(changes: ChangeStats, entity_types: Mapping[str, int], head: Head, storage_type: str, timestamp:
    str)
Report(project_id: str, changes: int, findings: tuple[Finding, ...], done: tuple[str, ...] = ())
Report.repairable -> bool
Report.sound -> bool
Request(method: str, path: str, query: str = '', headers: Mapping[str, str] = dict, body: bytes = b'',
    principal: Principal | None = None, waited: float = 0, max_wait: float = 0, facts: Facts | None = None)
RequestTimeout(message: str, *, hint: str | None = None) -> None
ReservedType(field: str) -> None
ReservedType.rename(self, names: Mapping[str, str]) -> None
Response(status: int, headers: tuple[tuple[str, str], ...], body: bytes | Iterator[bytes], wait: Wait | None =
    None, error: BaseException | None = None)
Response.close(self) -> None
Response.content -> bytes
Response.header(self, name: str) -> str | None
RestApiServer(*, storage: BaseStorageService, server_name: str = 'sltt', port: int = 8080, host: str =
    '127.0.0.1', open_to_network: bool = False, allow_hosts: Sequence[str] = (), access: Access | None = None,
    authenticator: Authenticator | None = None, cors: Sequence[str] = (), access_log: AccessLog | None = None,
    header_seconds: float = 10.0, body_seconds: float = 300.0, unread_seconds: float = 30.0, keep_alive_seconds:
    int = 75, max_connections: int | None = None, max_unsent_bytes: int = 128000000, bad_credentials:
    BadCredentials | None = None, traces: Traces | None = None) -> None
RestApiServer.bind(self, port: int | None = None, host: str | None = None, *, open_to_network: bool | None =
    None) -> None
RestApiServer.refused -> dict[str, int]
RestApiServer.serve_forever(self, ready: Callable[[str], None]) -> None
RestApiServer.start(self, port: int | None = None, host: str | None = None, *, open_to_network: bool | None =
    None) -> None
RestApiServer.stop(self) -> None
RestApiServer.url -> str
RoleAccess(storage: BaseStorageService, *, admins: Collection[str] = (), creation: str = 'anyone', runtime:
    Runtime = Runtime) -> None
RoleAccess.authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None
RoleAccess.is_admin(self, principal: Principal | None) -> bool
RoleAccess.members_changed(self, project_id: str, members: Members) -> None
RoleAccess.owners(self, principal: Principal | None, project_ids: Iterable[str]) -> Mapping[str, str]
RoleAccess.project_exists(self, project_id: str) -> None
RoleAccess.visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None
Runtime(clock: Clock = time_ns, steady_clock: Callable[[], float] = monotonic, pause: Callable[[float], None] =
    sleep, random: Callable[[], float] = random_fraction, new_token: Callable[[], str] = random_token, new_lock:
    Callable[[], Any] = allocate_lock, transport: Callable[[Any, float], Any] | None = None, observer: Observer
    | None = None)
ServerBusy(message: str, *, hint: str | None = None) -> None
ServerUnreachable(message: str, *, sent: bool) -> None
SlttError(message: str, *, hint: str | None = None) -> None
SlttError.public_hint -> str
SlttError.rename(self, names: Mapping[str, str]) -> None
Stopped(project_id: str, outcome: str, reason: str)
StorageBusy(message: str, *, hint: str | None = None) -> None
StorageError(message: str, *, hint: str | None = None) -> None
StorageError.public_hint -> str
StorageThrottled(message: str, *, hint: str | None = None) -> None
StorageUnavailable(message: str, *, hint: str | None = None) -> None
SyncResult(projects: Mapping[str, ProjectResult], trouble: Trouble | None = None)
SyncResult.ok -> bool
SyncResult.outcome -> Outcome
SyncResult.received -> int
SyncResult.rejected -> tuple[str, ...]
SyncResult.sent -> int
SyncStatus(device_id: str, server: str | None, clock_offset: int | None, projects: Mapping[str, ProjectStatus])
Token(id: str, hash: str, project_id: str, role: str, created_by: str | None, created_at: str, expires: int,
    principal: str, name: str, revoked_at: str | None = None)
TooManyWriters(message: str, *, hint: str | None = None) -> None
Trouble(outcome: Outcome, kind: str, detail: str, retry_after: float | None = None)
Unauthenticated(message: str, *, hint: str | None = None) -> None
Unit(device: Device, project_id: str) -> None
Unit.commit(self) -> None
Unit.edit(self, operation: str, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None =
    None, fields: Mapping[str, object] = dict) -> Outsync
UnknownCoding(message: str, *, hint: str | None = None) -> None
UnsupportedMediaType(message: str, *, field: str | None = None, hint: str | None = None) -> None
access_from_environment(storage: BaseStorageService, environ: Mapping[str, str], *, verifies: bool, creation:
    str = 'anyone', runtime: Runtime = Runtime) -> RoleAccess | None
authenticator_from_environment(environ: Mapping[str, str] = environ, *, storage: BaseStorageService | None =
    None, runtime: Runtime = Runtime, fast: bool = False) -> Authenticator | None
check_links(previous: str, changes: Iterable[Change]) -> str
fingerprint(changes: Sequence[NewChange]) -> str
open_storage(url: str, project_id: str | None = None) -> BaseStorageService
parse_changes(body: bytes, project_id: str | None = None) -> tuple[NewChange, ...]
""",
    "aws_backend": """
AccessDenied(message: str, *, hint: str | None = None) -> None
AwsRestApiServer(*, storage: BaseStorageService | None = None, server_name: str = 'sltt', **options: Any) ->
    None
ClockSkewed(message: str, *, hint: str | None = None) -> None
ConditionFailed(message: str, *, hint: str | None = None) -> None
ConditionFailed.from_response(code: str, message: str, response: Mapping[str, Any]) -> DynamoDBError
CredentialChain(sources: Iterable[Source], *, runtime: Runtime = Runtime) -> None
CredentialChain.correct_clock(self, skew: float) -> None
CredentialChain.get(self) -> Credentials
CredentialChain.replace_expired(self, expired: Credentials) -> None
CredentialError(message: str, tried: Iterable[tuple[str, str]] = ()) -> None
Credentials(access_key: str, secret_key: str, token: str | None = None, expires: float | None = None)
CredentialsExpired(message: str, *, hint: str | None = None) -> None
DynamoDBClient(region: str, credentials: Callable[[], Credentials], *, endpoint: str | None = None,
    max_attempts: int = 5, make_transport: MakeTransport | None = None, runtime: Runtime = Runtime) -> None
DynamoDBClient.call(self, operation: str, payload: Mapping[str, Any], *, deadline: float | None = None,
    repeatable: bool | None = None) -> dict[str, Any]
DynamoDBClient.close(self) -> None
DynamoDBClient.observe(self, observer: Observer) -> None
DynamoDBClient.warm(self, seconds: float = 10.0) -> None
DynamoDBError(message: str, *, hint: str | None = None) -> None
DynamoDBError.from_response(code: str, message: str, response: Mapping[str, Any]) -> DynamoDBError
DynamoDBError.is_throttled -> bool
DynamoDBStorageService(table_name: str, project_id: str | None = None, *, region: str | None = None,
    use_local_dynamodb: bool = False, local_endpoint: str = 'http://localhost:8000', endpoint: str | None =
    None, write_region: str | None = None, client: DynamoDBClient | None = None, check_table: bool = True,
    runtime: Runtime = Runtime, time_limit: Callable[[], float] = DynamoDBStorageService.<lambda>,
    chunk_changes: int = 98, chunk_bytes: int = 3500000, page_bytes: int = 4000000) -> None
DynamoDBStorageService.close(self) -> None
DynamoDBStorageService.gauges(self) -> dict[str, float]
DynamoDBStorageService.initialize(self) -> None
DynamoDBStorageService.observe(self, observer: Observer) -> None
DynamoDBStorageService.place -> str
DynamoDBStorageService.wait_for_write(self, mark: Any, seconds: float) -> None
DynamoDBStorageService.warm(self) -> None
DynamoDBStorageService.write_mark(self) -> object
Function(api: Api, storage: BaseStorageService, gateway: Gateway = Gateway, *, max_wait: float = 0.0, limit:
    Callable[[float], None] = Function.<lambda>, warm: Callable[[], None] = Function.<lambda>, verifies: bool =
    False, log: RequestLog | None = None, counter: CallCounter | None = None, runtime: Runtime = Runtime) ->
    None
Gateway(base_path: str = '', principal_claim: str = 'sub', rest_binary: bool = False)
InvalidRequest(message: str, *, hint: str | None = None) -> None
NotDynamoDB(message: str, *, hint: str | None = None) -> None
ServerFault(message: str, *, hint: str | None = None) -> None
TableInUse(message: str, *, hint: str | None = None) -> None
TableNotFound(message: str, *, hint: str | None = None) -> None
Throttled(message: str, *, hint: str | None = None) -> None
TokenReused(message: str, *, hint: str | None = None) -> None
TransactionCanceled(message: str, *, hint: str | None = None) -> None
TransactionCanceled.codes -> set[str]
TransactionCanceled.from_response(code: str, message: str, response: Mapping[str, Any]) -> DynamoDBError
TransactionCanceled.is_throttled -> bool
TransactionCanceled.is_transient -> bool
TransactionConflict(message: str, *, hint: str | None = None) -> None
TransactionInProgress(message: str, *, hint: str | None = None) -> None
UnknownEvent: Exception
default_chain(explicit: Credentials | None = None, *, profile: str | None = None, region: str | None = None,
    environ: Mapping[str, str] = environ, read_text: ReadText = read_text, run: RunCommand | None = None,
    runtime: Runtime = Runtime) -> CredentialChain
function_of(environ: Mapping[str, str], access: Access | None = None, *, runtime: Runtime = Runtime) -> Function
region_from_environment(environ: Mapping[str, str] = environ, *, profile: str | None = None, read_text: ReadText
    = read_text) -> str | None
storage_from_environment(environ: Mapping[str, str] = environ, project_id: str | None = None, **options: Any) ->
    DynamoDBStorageService
""",
}
"""The public names: one entry a line, in any order; a long one goes on in the next line, indented."""


@pytest.mark.parametrize("door", DOORS)
def test_the_public_signatures_are_as_listed(door: ModuleType) -> None:
    promised = re.sub(r"\n +", " ", SIGNATURES[door.__name__]).strip().splitlines()
    found = signatures(door)
    assert sorted(set(found) ^ set(promised)) == [], "what differs: what was promised, and what is there"
    assert len(promised) == len(set(promised))


def test_the_help_of_a_new_change_reads_well() -> None:
    text = pydoc.plain(pydoc.render_doc(sltt_core.NewChange))
    assert "operation: \"Literal['create', 'update', 'delete'] | None\" = None" in text
    assert "`entity_type` is a text of 1 to 64 characters" in text
    assert "itemgetter" not in text
