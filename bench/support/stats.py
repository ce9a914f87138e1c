"""Statistics of the values of several rounds: the median, the spread, the ratio to a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Figure(NamedTuple):
    """The median and the quartiles of several values."""

    median: float
    low: float
    """The first quartile."""
    high: float
    """The third quartile."""
    rounds: int


def quantile(values: Sequence[float], part: float) -> float:
    """Return the quantile for a share from 0 to 1, linearly interpolated."""
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
    """Return the least of several counts, in percent of an equal share."""
    return 100 * min(counts) * len(counts) / sum(counts)


def figure(values: Sequence[float]) -> Figure:
    """Return the median and the quartiles, which one disturbed round hardly changes."""
    return Figure(quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75), len(values))


def ratios(values: Sequence[float], baseline: Sequence[float]) -> list[float] | None:
    """Return the ratio of each value to the baseline of its round; `None` when a baseline is 0.

    Both of a round stand close together in time, so what else the machine does weighs on both.
    """
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} rounds cannot be compared with {len(baseline)}")
    if not all(baseline):
        return None
    return [value / base for value, base in zip(values, baseline, strict=True)]
