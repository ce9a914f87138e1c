"""Plots of the tables: bars, or lines over the size of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.support.stats import figure
from bench.support.tables import number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.support.tables import Table

FAR = 30
"""The ratio of the largest to the smallest bar above which the scale is logarithmic."""
BASE, MEASURED = "#9aa5b1", "#2563a8"


def draw(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Draw every table with a name into a file of that name; needs matplotlib."""
    from matplotlib import use

    use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for table in tables:
        if table.name:
            path = folder / f"{table.name}.png"
            (_lines if any(row.size for row in table.rows) else _bars)(table, path)
            drawn.append(path)
    return drawn


def _bars(table: Table, path: Path) -> None:
    """Draw a bar for each row, with its spread and its ratio; baselines are grey."""
    from matplotlib.figure import Figure

    shown = Figure(figsize=(8, 0.9 + 0.27 * len(table.rows)), layout="constrained")
    axes = shown.subplots()
    for at, row in enumerate(table.rows):
        value, baseline = figure(row.values), row.baseline == row.name
        spread = [[value.median - value.low], [value.high - value.median]]
        axes.barh(at, value.median, xerr=spread, color=BASE if baseline else MEASURED, ecolor="#333", capsize=2)
        ratio = None if baseline else table.ratio(row)
        text = number(value.median) + ("" if ratio is None else f"  ×{number(ratio.median)}")
        axes.text(value.high, at, f"  {text}", va="center", fontsize=8)
    axes.set_yticks(range(len(table.rows)), [row.name for row in table.rows], fontsize=8)
    axes.invert_yaxis()
    least = min(figure(row.values).low for row in table.rows)
    most = max(figure(row.values).high for row in table.rows)
    if least > 0 and most > FAR * least:
        axes.set_xscale("log")
        axes.set_xlim(least / 2, most * (most / least) ** 0.25)
    else:
        axes.set_xlim(0, most * 1.25)
    axes.set_xlabel(f"{table.rows[0].unit}; ×: to the grey bar of the same kind")
    axes.set_title(table.title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    shown.savefig(path, dpi=110)


def _lines(table: Table, path: Path) -> None:
    """Draw a line for each case that was measured at several sizes: its ratio to the smallest."""
    from matplotlib.figure import Figure

    shown = Figure(figsize=(8, 4), layout="constrained")
    axes = shown.subplots()
    for line in dict.fromkeys(row.line for row in table.rows if row.line):
        points = [(row.size, ratio) for row in table.rows if row.line == line and (ratio := table.ratio(row))]
        sizes, medians = [size for size, _ in points], [ratio.median for _, ratio in points]
        spread = [
            [ratio.median - ratio.low for _, ratio in points],
            [ratio.high - ratio.median for _, ratio in points],
        ]
        axes.errorbar(sizes, medians, yerr=spread, marker="o", markersize=4, capsize=2, linewidth=1.2, label=line)
    axes.set_xscale("log")
    axes.set_ylim(0, max(3, axes.get_ylim()[1]))
    axes.axhline(1, color=BASE, linewidth=0.8, zorder=0)
    axes.set_xlabel("changes in the log")
    axes.set_ylabel("times that of the shortest log")
    axes.set_title(table.title, fontsize=10)
    axes.legend(fontsize=8, ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    shown.savefig(path, dpi=110)
