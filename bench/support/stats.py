"""What is made of the values of several rounds: the median, the spread, the ratio to a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Figure(NamedTuple):
    """Several values of the same thing, in short."""

    median: float
    low: float
    """A quarter of the values lies below."""
    high: float
    """A quarter lies above."""
    rounds: int


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which that part of the values lies, between two of them in proportion."""
    if not values:
        raise ValueError("there are no values")
    if not 0 <= part <= 1:
        raise ValueError(f"{part} is not from 0 to 1")
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def share_of_least(counts: Sequence[int]) -> float:
    """The least of several counts, in percent of what each were if all were alike."""
    return 100 * min(counts) * len(counts) / sum(counts)


def figure(values: Sequence[float]) -> Figure:
    """The median, and the bounds of the middle half of the values, which one round that was disturbed does not move."""
    return Figure(quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75), len(values))


def ratios(values: Sequence[float], baseline: Sequence[float]) -> list[float] | None:
    """Round by round, how many times the baseline a value is; `None` where a baseline of 0 leaves that open.

    Both of a round stand close together in time, so what else the machine does weighs on both.
    """
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} rounds cannot be compared with {len(baseline)}")
    if not all(baseline):
        return None
    return [value / base for value, base in zip(values, baseline, strict=True)]
