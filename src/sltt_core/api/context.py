"""`Context`: what the handlers of the routes use."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from sltt_core.api.access import Access, Authenticator
    from sltt_core.api.http import Request, Response
    from sltt_core.log.storage import BaseStorageService

    Handler = Callable[["Context", Request, Mapping[str, Any]], Response]
    """Called with the parameters of the path, the query and the body."""


class Context:
    """The objects that handlers use. Each server has one context."""

    __slots__ = ("access", "authenticator", "checks", "now", "server", "storage")

    def __init__(
        self,
        storage: BaseStorageService,
        server: str,
        access: Access,
        now: Callable[[], str],
        checks: Sequence[Callable[[], str | None]] = (),
        authenticator: Authenticator | None = None,
    ) -> None:
        self.storage = storage
        self.server = server
        self.access = access
        self.now = now
        self.checks = checks
        """Each returns what is wrong with the server's own threads, or `None`."""
        self.authenticator = authenticator
