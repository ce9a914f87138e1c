"""docs/simulation.md lists every fault, every promise and every planted bug."""

from __future__ import annotations

from tests.docs.documents import rows, section
from tests.simulation.bugs import BUGS
from tests.simulation.checker import CHECKS
from tests.simulation.faults import FAULTS

PAGE = "docs/simulation.md"


def table(heading: str) -> list[list[str]]:
    return rows(section(PAGE, heading))[1:]


def test_every_fault_is_on_the_page() -> None:
    assert [name for name, _ in table("## Faults")] == list(FAULTS)


def test_every_promise_is_on_the_page() -> None:
    promises = [[name, " ".join((check.__doc__ or "").split())] for name, check in CHECKS.items()]
    assert table("## Promises that are checked") == promises


def test_every_planted_bug_is_on_the_page() -> None:
    assert table("## Does it find bugs?") == [[bug.name, bug.breaks] for bug in BUGS]
    assert f"\n{len(BUGS)} of {len(BUGS)} planted bugs found\n" in section(PAGE, "## Does it find bugs?")
