"""Who may do what: `Principal` and `Access`, and the one place that asks for every route."""

from __future__ import annotations

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

OPEN = "open"
"""The action of a route that touches no project: nobody is asked."""
LIST = "list"
"""List the projects. Asked with no project; `Access.visible` then says which ones."""
READ = "read"
"""Read one project: its changes, its counts; also when a waiting request is asked again."""
APPEND = "append"
"""Append to one project; also when the batch turns out to be stored already."""
ACTIONS = (OPEN, LIST, READ, APPEND)


class Principal(Record):
    """Who sends a request, as the server or the gateway has verified."""

    id: str
    """1 to 255 characters, no control characters; stored as `changeBy` with each change."""
    claims: Mapping[str, object] = {}
    """What else is known: the claims of a token, or the context of an authorizer."""


class Access:
    """Decides who may do what. One object serves all requests of a server, on any number of threads.

    Any `SlttError` that a method raises becomes the response. An error of another kind becomes a 500: nobody is let in
    by a fault.
    """

    def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
        """Return if the principal may do this; raise `NotAllowed` if not.

        `principal` is `None` for a request that names nobody. `action` is `read`, `append` or `list`; an action that
        the method does not know must be refused, because later versions add some. `project_id` is `None` for `list`.
        A project whose existence the principal must not learn of raises `NotFound` instead.

        Called before each response, so again when a waiting request wakes. A batch is asked about once for each of
        its projects, before anything is written.
        """
        raise NotImplementedError

    def visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None:
        """Return the ids of the projects that a list shows the principal, or `None` for all that have changes.

        The ids come in order, each once. Those up to `cursor` may be left out. The list takes only as many ids as its
        page holds and one more, so an iterator may read them in pages. Called after `authorize` allows `list`.
        """
        raise NotImplementedError


class AllowAll(Access):
    """Lets everybody do everything; for a server that only its own machine reaches."""

    def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
        """Return."""

    def visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None:
        """Return `None`: all projects."""
        return None


def check_access(access: Access, principal: Principal | None, action: str, parameters: Mapping[str, Any]) -> None:
    """Ask about every project that a request concerns; raises what `Access.authorize` raises.

    Those are the projects of the batch in `parameters["changes"]`, in order of first appearance, or else the one in
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
