"""`RoleAccess`: what the members of a project may do, by the roles that its log grants."""

from __future__ import annotations

from _thread import allocate_lock

from sltt_core.api.access import APPEND, GRANT, LIST, MARK, READ, Access
from sltt_core.base.errors import AccessRevoked, InvalidInput, NotAllowed, NotFound, Unauthenticated
from sltt_core.base.forks import call_after_fork
from sltt_core.base.record import Record
from sltt_core.base.runtime import SYSTEM
from sltt_core.model.grants import DEVICE, EDITOR, NONE, OWNER, ROLES, VIEWER, check_principal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sltt_core.api.access import Principal
    from sltt_core.base.runtime import Runtime
    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.grants import Members

REMEMBERED_SECONDS = 60.0
"""How long the members of a project are remembered. A grant by another process has its effect within this time."""
REFUSED_SECONDS = 5.0
"""How old the members may be on which a refusal is based."""
MAX_REMEMBERED = 1000
"""Projects whose members are remembered; the one that was read first is forgotten first."""
ANYONE, ADMINS = CREATION = ("anyone", "admins")
"""Who may create projects."""
LEAST = {READ: VIEWER, APPEND: EDITOR, MARK: EDITOR, GRANT: OWNER}
"""The least role that each action needs."""


class _Known(Record):
    """The members of a project, as of a time."""

    members: Members
    at: float
    """Just before they were read, in seconds of the steady clock: they are as old as that, however long it took."""
    exists: bool
    """Whether the project has changes, as far as is known."""
    learned: float
    """When this server learned of their last grant."""


class RoleAccess(Access):
    """Allows what the roles of a project allow: a viewer reads, an editor also appends, an owner also changes members.

    Administrators may do everything in every project. A principal who is no member gets the same `NotFound` as for
    a project that does not exist.
    """

    def __init__(
        self,
        storage: BaseStorageService,
        *,
        admins: Collection[str] = (),
        creation: str = ANYONE,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """`admins` are principals. `creation` says who may create projects by appending to them: one of `CREATION`.

        Raises `InvalidInput` for another `creation`.
        """
        if creation not in CREATION:
            raise InvalidInput(f"creation is not one of {', '.join(CREATION)}", field="creation")
        self._storage = storage
        self._admins = frozenset(admins)
        self._creation = creation
        self._steady_clock = runtime.steady_clock
        self._known: dict[str, _Known] = {}
        self._lock = allocate_lock()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may hold."""
        self._lock = allocate_lock()

    def is_admin(self, principal: Principal | None) -> bool:
        """Return whether the principal is an administrator."""
        return principal is not None and principal.id in self._admins

    def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
        """Return if the principal may do this in the project.

        Raises `Unauthenticated` for an anonymous request, `NotFound` for a principal that never was a member,
        `AccessRevoked` for a former member, `NotAllowed` for a role that is too small, and the errors of the storage.
        """
        if principal is None:
            raise Unauthenticated("the request has no credential")
        if action == LIST or self.is_admin(principal):
            return
        if action not in LEAST or project_id is None:
            raise NotAllowed(f"this server knows no action {action}")
        if _is_device(principal) and principal.claims.get("projectId") != project_id:
            raise _not_found()
        if self._refusal(self._members_of(project_id, REMEMBERED_SECONDS), principal, action) is None:
            return
        error = self._refusal(self._members_of(project_id, REFUSED_SECONDS), principal, action)
        if error is not None:
            raise error

    def visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None:
        """Return the principal's projects; `None` for an administrator: all."""
        if principal is None or self.is_admin(principal):
            return None
        return self._projects(principal.id, cursor)

    def owners(self, principal: Principal | None, project_ids: Iterable[str]) -> Mapping[str, str]:
        """Return the projects without changes and members: the principal becomes their owner."""
        if principal is None or not self._may_create(principal):
            return {}
        return {
            project_id: principal.id
            for project_id in project_ids
            if _is_new(self._members_of(project_id, REMEMBERED_SECONDS))
        }

    def project_exists(self, project_id: str) -> None:
        """Remember that the project has changes, and read its members again."""
        self._read(project_id, exists=True)

    def members_changed(self, project_id: str, members: Members) -> None:
        """Remember the members of a project, as old as those that were known: nobody knows when they were read."""
        known = self._known.get(project_id)
        at = float("-inf") if known is None else known.at
        self._remember(project_id, members, at, exists=True)

    def _refusal(self, known: _Known, principal: Principal, action: str) -> NotFound | NotAllowed | None:
        member = known.members.roles.get(principal.id)
        if member is None:
            if action == APPEND and self._may_create(principal) and _is_new(known):
                return None
            return _not_found()
        if member.role == NONE:
            return AccessRevoked("you are no longer a member of this project")
        if ROLES.index(member.role) < ROLES.index(LEAST[action]):
            return NotAllowed(f"your role in this project is {member.role}; this needs {LEAST[action]}")
        return None

    def _may_create(self, principal: Principal) -> bool:
        return (self._creation == ANYONE and not _is_device(principal)) or self.is_admin(principal)

    def _projects(self, principal_id: str, cursor: str | None) -> Iterator[str]:
        while True:
            page = self._storage.get_projects_of(principal_id, cursor)
            yield from page.projects
            if page.cursor is None:
                return
            cursor = page.cursor

    def _members_of(self, project_id: str, age: float) -> _Known:
        """Return what is known of a project, at most this old, in seconds."""
        known = self._known.get(project_id)
        if known is not None and self._steady_clock() - known.at < age:
            return known
        return self._read(project_id, exists=known is not None and known.exists)

    def _read(self, project_id: str, *, exists: bool) -> _Known:
        at = self._steady_clock()
        return self._remember(project_id, self._storage.get_members(project_id=project_id), at, exists=exists)

    def _remember(self, project_id: str, members: Members, at: float, *, exists: bool) -> _Known:
        """Remember the members of a project, read at this time.

        Those of an eventually consistent read can be older than a grant that this server has made or seen just before:
        then the newer ones remain.
        """
        with self._lock:
            before = self._known.pop(project_id, None)
            learned = self._steady_clock()
            if before is not None:
                newer = before.members.version - members.version
                if newer > 0 and at - before.learned < REFUSED_SECONDS:
                    members, at = before.members, before.at
                if newer >= 0:
                    learned = before.learned
            elif len(self._known) >= MAX_REMEMBERED:
                del self._known[next(iter(self._known))]
            known = self._known[project_id] = _Known(members, at, exists, learned)
            return known


def _not_found() -> NotFound:
    return NotFound("there is no such project, or you are not a member of it")


def _is_device(principal: Principal) -> bool:
    """Return whether the principal is a device token, which is of one project and cannot create another."""
    return principal.id.startswith(DEVICE)


def _is_new(known: _Known) -> bool:
    return not known.exists and not known.members.roles


def access_from_environment(
    storage: BaseStorageService,
    environ: Mapping[str, str],
    *,
    verifies: bool,
    creation: str = ANYONE,
    runtime: Runtime = SYSTEM,
) -> RoleAccess | None:
    """Return the access control that the environment describes: ACCESS_CONTROL, ADMINS and PROJECT_CREATION.

    ACCESS_CONTROL is `roles` or `none`; the default is `roles` if the server `verifies` who sends a request. `creation`
    is the default of PROJECT_CREATION. Returns `None` for `none`. Raises `InvalidInput` with the name of a setting that
    is not valid, or that has no effect.
    """
    control = environ.get("ACCESS_CONTROL") or ("roles" if verifies else "none")
    if control not in ("roles", "none"):
        raise InvalidInput(f"the setting ACCESS_CONTROL is {control[:40]!r}, not roles or none", field="ACCESS_CONTROL")
    admins = _principals(environ.get("ADMINS"))
    if control == "none":
        for name in ("ADMINS", "PROJECT_CREATION"):
            if environ.get(name):
                raise InvalidInput(f"the setting {name} has no effect without ACCESS_CONTROL=roles", field=name)
        return None
    creation = environ.get("PROJECT_CREATION") or creation
    if creation not in CREATION:
        raise InvalidInput(
            f"the setting PROJECT_CREATION is {creation[:40]!r}, not {' or '.join(CREATION)}", field="PROJECT_CREATION"
        )
    return RoleAccess(storage, admins=admins, creation=creation, runtime=runtime)


def _principals(text: str | None) -> list[str]:
    try:
        return [check_principal(part.strip()) for part in text.split(",")] if text else []
    except ValueError as error:
        raise InvalidInput(f"the setting ADMINS has a principal that {error}", field="ADMINS") from None
