"""Sync for offline-first apps: a change log for each project, the contract of storages, a REST API and a server.

Import all public names from here: `from sltt_core import LocalStorageService, NewChange`. A name is loaded when it is
first used (PEP 562), so importing the package costs little. This package does not need AWS; `aws_backend` extends it.
"""

from __future__ import annotations

from sys import modules as _loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sltt_core.api.access import Access, AllowAll, Authenticator, Principal
    from sltt_core.api.app import Api
    from sltt_core.api.bearer import authenticator_from_environment
    from sltt_core.api.http import Request, Response
    from sltt_core.api.roles import RoleAccess, access_from_environment
    from sltt_core.base.errors import (
        AccessRevoked,
        ChainMismatch,
        CredentialExists,
        HeadersTooLarge,
        HeadMoved,
        HostNotAllowed,
        InvalidBatch,
        InvalidInput,
        IssuerUnavailable,
        KeyReused,
        LastOwner,
        LogDamaged,
        MethodNotAllowed,
        NotAllowed,
        NotALog,
        NotFound,
        PartialAppend,
        PayloadTooLarge,
        Problem,
        ProjectExists,
        RequestTimeout,
        ReservedType,
        ServerBusy,
        SlttError,
        StorageBusy,
        StorageError,
        StorageThrottled,
        StorageUnavailable,
        TooManyWriters,
        Unauthenticated,
        UnknownCoding,
        UnsupportedMediaType,
    )
    from sltt_core.base.record import Record
    from sltt_core.base.runtime import Runtime
    from sltt_core.base.version import __version__
    from sltt_core.log.batches import Appended
    from sltt_core.log.findings import Finding, Report
    from sltt_core.log.pages import ChangeFilter, ChangeStats, Head, Page, ProjectsPage
    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.chain import GENESIS, check_links
    from sltt_core.model.changes import Change, NewChange, fingerprint, parse_changes
    from sltt_core.model.credentials import Invitation, Token
    from sltt_core.model.grants import Member, Members
    from sltt_core.server.access_log import AccessLog
    from sltt_core.server.rest_api_server import RestApiServer
    from sltt_core.server.storages import open_storage
    from sltt_core.sqlite.storage import LocalStorageService
    from sltt_core.sync.aio import AsyncDevice, AsyncProject
    from sltt_core.sync.device import Device, DeviceProject, Unit
    from sltt_core.sync.errors import ApiProblem, Cancelled, ForeignResponse, RemoteError, ServerUnreachable
    from sltt_core.sync.events import Arrived, Diverged, Events, Failed, Offline, Online, Progress, Rejected, Stopped
    from sltt_core.sync.outcomes import (
        DownsyncResult,
        OutsyncResult,
        ProjectResult,
        ProjectStatus,
        SyncResult,
        SyncStatus,
        Trouble,
    )
    from sltt_core.sync.outsyncs import Outsync
    from sltt_core.sync.remote import Client
    from sltt_core.sync.results import AppendResult, Heads, Health, Me, RemoteMember, RemotePage, RemoteStats
    from sltt_core.sync.store import DeviceStore
    from sltt_core.sync.view import DeviceLog

_ROOMS = {
    "api.access": "Access AllowAll Authenticator Principal",
    "api.app": "Api",
    "api.bearer": "authenticator_from_environment",
    "api.http": "Request Response",
    "api.roles": "RoleAccess access_from_environment",
    "base.errors": "AccessRevoked ChainMismatch CredentialExists HeadMoved HeadersTooLarge HostNotAllowed InvalidBatch "
    "InvalidInput IssuerUnavailable KeyReused LastOwner LogDamaged MethodNotAllowed NotALog "
    "NotAllowed NotFound PartialAppend PayloadTooLarge Problem ProjectExists RequestTimeout "
    "ReservedType ServerBusy SlttError StorageBusy StorageError StorageThrottled StorageUnavailable "
    "TooManyWriters Unauthenticated UnknownCoding UnsupportedMediaType",
    "base.record": "Record",
    "base.runtime": "Runtime",
    "base.version": "__version__",
    "log.batches": "Appended",
    "log.findings": "Finding Report",
    "log.pages": "ChangeFilter ChangeStats Head Page ProjectsPage",
    "log.storage": "BaseStorageService",
    "model.chain": "GENESIS check_links",
    "model.changes": "Change NewChange fingerprint parse_changes",
    "model.credentials": "Invitation Token",
    "model.grants": "Member Members",
    "server.access_log": "AccessLog",
    "server.rest_api_server": "RestApiServer",
    "server.storages": "open_storage",
    "sqlite.storage": "LocalStorageService",
    "sync.aio": "AsyncDevice AsyncProject",
    "sync.device": "Device DeviceProject Unit",
    "sync.errors": "ApiProblem Cancelled ForeignResponse RemoteError ServerUnreachable",
    "sync.events": "Arrived Diverged Events Failed Offline Online Progress Rejected Stopped",
    "sync.outcomes": "DownsyncResult OutsyncResult ProjectResult ProjectStatus SyncResult SyncStatus Trouble",
    "sync.outsyncs": "Outsync",
    "sync.remote": "Client",
    "sync.results": "AppendResult Heads Health Me RemoteMember RemotePage RemoteStats",
    "sync.store": "DeviceStore",
    "sync.view": "DeviceLog",
}
"""The public names, by the modules that define them."""

__all__ = [
    "GENESIS",
    "Access",
    "AccessLog",
    "AccessRevoked",
    "AllowAll",
    "Api",
    "ApiProblem",
    "AppendResult",
    "Appended",
    "Arrived",
    "AsyncDevice",
    "AsyncProject",
    "Authenticator",
    "BaseStorageService",
    "Cancelled",
    "ChainMismatch",
    "Change",
    "ChangeFilter",
    "ChangeStats",
    "Client",
    "CredentialExists",
    "Device",
    "DeviceLog",
    "DeviceProject",
    "DeviceStore",
    "Diverged",
    "DownsyncResult",
    "Events",
    "Failed",
    "Finding",
    "ForeignResponse",
    "Head",
    "HeadMoved",
    "HeadersTooLarge",
    "Heads",
    "Health",
    "HostNotAllowed",
    "InvalidBatch",
    "InvalidInput",
    "Invitation",
    "IssuerUnavailable",
    "KeyReused",
    "LastOwner",
    "LocalStorageService",
    "LogDamaged",
    "Me",
    "Member",
    "Members",
    "MethodNotAllowed",
    "NewChange",
    "NotALog",
    "NotAllowed",
    "NotFound",
    "Offline",
    "Online",
    "Outsync",
    "OutsyncResult",
    "Page",
    "PartialAppend",
    "PayloadTooLarge",
    "Principal",
    "Problem",
    "Progress",
    "ProjectExists",
    "ProjectResult",
    "ProjectStatus",
    "ProjectsPage",
    "Record",
    "Rejected",
    "RemoteError",
    "RemoteMember",
    "RemotePage",
    "RemoteStats",
    "Report",
    "Request",
    "RequestTimeout",
    "ReservedType",
    "Response",
    "RestApiServer",
    "RoleAccess",
    "Runtime",
    "ServerBusy",
    "ServerUnreachable",
    "SlttError",
    "Stopped",
    "StorageBusy",
    "StorageError",
    "StorageThrottled",
    "StorageUnavailable",
    "SyncResult",
    "SyncStatus",
    "Token",
    "TooManyWriters",
    "Trouble",
    "Unauthenticated",
    "Unit",
    "UnknownCoding",
    "UnsupportedMediaType",
    "__version__",
    "access_from_environment",
    "authenticator_from_environment",
    "check_links",
    "fingerprint",
    "open_storage",
    "parse_changes",
]


def _lazy(package: str, rooms: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package whose public names are loaded on first use (PEP 562).

    `rooms` has the names of each module, separated by spaces. `aws_backend` uses this too.
    """
    modules = {name: f"{package}.{room}" for room, names in rooms.items() for name in names.split()}

    def load(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(__import__(modules[name], fromlist=[name]), name)
        setattr(_loaded[package], name, value)
        return value

    return load, lambda: sorted(modules)


__getattr__, __dir__ = _lazy(__name__, _ROOMS)
