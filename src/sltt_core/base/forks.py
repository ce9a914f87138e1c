"""Forks: objects that set themselves up again in the child of a fork.

The child has a copy of every object, but only the thread that forked. A lock that another thread held would stay locked
there for ever, and a thread that others wait for does not exist. A copied connection is the parent's: two processes
that use it get each other's responses.
"""

from __future__ import annotations

import os
from _weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Forked(Protocol):
        """An object that has locks, threads or connections. It can be weakly referenced."""

        def _after_fork(self) -> None:
            """Replace the locks, and forget the threads and connections of the parent. No other thread runs."""


def call_after_fork(owner: Forked) -> None:
    """Call `owner._after_fork` in the child of every fork from now on, for as long as the object exists."""
    _owners.add(ref(owner, _owners.discard))


_owners: set[ref[Forked]] = set()


def _after_in_child() -> None:
    for reference in list(_owners):
        owner = reference()
        if owner is not None:
            owner._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
