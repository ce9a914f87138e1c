"""`Bug` and `find`: how a bug is planted, and with which seed the checker finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from aws_backend.storage import DynamoDBStorageService
from tests.dynamodb_model.model import Model
from tests.simulation.checker import violations
from tests.simulation.process import Parts
from tests.simulation.world import World


class Bug(NamedTuple):
    """A bug, and the function that plants it."""

    name: str
    breaks: str
    """What is wrong."""
    planted: Callable[[], Any]
    """Returns a context manager that plants the bug and yields the `Parts` of a world."""
    world: Callable[..., World] = World
    """The kind of schedules that find it."""


def find(bug: Bug, seeds: Iterable[int]) -> tuple[int, str] | None:
    """Return the first seed with which the checker finds a bug, and the violation; `None` if no seed finds it."""
    for seed in seeds:
        with bug.planted() as parts:
            outcome = bug.world(seed, parts).run()
        for violation in violations(outcome.history):
            if not violation.startswith("no unexpected errors"):  # an exception does not count as found
                return seed, violation
    return None


def with_storage(cls: Callable[..., DynamoDBStorageService]) -> Callable[[], Any]:
    """Plant a bug in a storage of another class."""

    @contextmanager
    def planted() -> Iterator[Parts]:
        yield Parts(storage=cls)

    return planted


def with_model(cls: Callable[..., Model]) -> Callable[[], Any]:
    """Plant a bug in a model of another class."""

    @contextmanager
    def planted() -> Iterator[Parts]:
        yield Parts(model=cls)

    return planted


def patched(*patches: tuple[Any, str, Any]) -> Callable[[], Any]:
    """Plant a bug by replacing attributes of modules or classes."""

    @contextmanager
    def planted() -> Iterator[Parts]:
        with ExitStack() as stack:
            for where, name, what in patches:
                stack.enter_context(patch.object(where, name, what))
            yield Parts()

    return planted
