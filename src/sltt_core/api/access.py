"""Access control: `Principal`, `Access`, and the function that checks the access of every request."""

from __future__ import annotations

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from sltt_core.model.grants import Members

OPEN = "open"
"""The action of a route that concerns no project. It is always allowed."""
LIST = "list"
"""List the projects. It is checked without a project; then `Access.visible` returns the projects to list."""
READ = "read"
"""Read the changes or counts of one project. It is checked again each time a waiting request wakes."""
APPEND = "append"
"""Append to one project. It is also checked for a batch that is already stored. The project may be a new one."""
MARK = "mark"
"""Mark a change of one project as outdated."""
GRANT = "grant"
"""Change the members of one project."""
ACTIONS = (OPEN, LIST, READ, APPEND, MARK, GRANT)


class Principal(Record):
    """The sender of a request, as the server or the gateway has verified it."""

    id: str
    """1 to 255 characters, no control characters; stored as `changeBy` with each change."""
    claims: Mapping[str, object] = {}
    """The claims of a token, or the context of an authorizer."""


class Access:
    """Decides which actions are allowed. One object serves all requests of a server, on any number of threads.

    An `SlttError` that a method raises becomes the response. Any other exception becomes a response 500, so that a
    failure never grants access.
    """

    def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
        """Return if the principal may do this; raise `NotAllowed` if not.

        `principal` is `None` for an anonymous request. `action` is one of `ACTIONS`, but not `open`. Refuse unknown
        actions, because later versions may add some. `project_id` is `None` for `list`. To hide the existence of a
        project, raise `NotFound` instead.

        The API calls this before it reads or writes, once for each project of a batch. It calls it again when a read is
        done, because the role may have been taken away meanwhile, and when a waiting request wakes.
        """
        raise NotImplementedError

    def visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None:
        """Return the ids of the projects to list for the principal, or `None` for all projects that have changes.

        The ids must be sorted and unique. Ids up to `cursor` may be left out. The API reads at most one id more than a
        page holds, so an iterator may load them in pages. It calls this after `authorize` has allowed `list`.
        """
        raise NotImplementedError

    def is_admin(self, principal: Principal | None) -> bool:
        """Return whether the principal is an administrator, who may do everything."""
        return False

    def owners(self, principal: Principal | None, project_ids: Iterable[str]) -> Mapping[str, str]:
        """Return the projects that an append creates, and the principal who becomes the owner of each.

        The API calls this after `authorize` has allowed the append to each of these projects.
        """
        return {}

    def project_exists(self, project_id: str) -> None:
        """Learn that a project has changes, although `owners` expected none. The API calls `authorize` again then."""

    def members_changed(self, project_id: str, members: Members) -> None:
        """Learn the members of a project after a change of them by this server."""


class Authenticator:
    """Verifies who sends a request. One object serves all requests of a server, on any number of threads."""

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Return the verified sender of a request with these headers (`Request.headers`).

        Raises `Unauthenticated` if the request has no credential or a bad one; its `challenge` says how to send one.
        The API calls this before each response of a route that is not open, and again when a waiting request wakes. It
        does not call it for a request that has a principal already, which a gateway has verified.
        """
        raise NotImplementedError

    def metadata(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the metadata of this API as a protected resource (RFC 9728, section 2)."""
        raise NotImplementedError


class AllowAll(Access):
    """Allows every action to everyone. It is for servers that only their own machine can reach."""

    def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
        """Allow the action."""

    def visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None:
        """Return `None`: all projects."""
        return None


def check_access(access: Access, principal: Principal | None, action: str, parameters: Mapping[str, Any]) -> None:
    """Check the access to every project of a request; raises what `Access.authorize` raises.

    The projects are those of the batch in `parameters["changes"]`, in order of first appearance, or else the one in
    `parameters["projectId"]`.
    """
    if action == OPEN:
        return
    if "changes" in parameters:
        project_ids = dict.fromkeys(change.project_id for change in parameters["changes"])
    else:
        project_ids = dict.fromkeys((parameters.get("projectId"),))
    for project_id in project_ids:
        access.authorize(principal, action, project_id)
