"""Tables of the measured cases, their figures, and their ratio to a baseline row of the same table."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.support.stats import Figure, figure, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = ("", "median", "middle half", "ratio", "middle half", "to")


class Row(NamedTuple):
    """A case that was measured in every round."""

    name: str
    unit: str
    values: Sequence[float]
    """The values, one for each round."""
    baseline: str = ""
    """The name of the baseline row; a baseline names itself."""
    line: str = ""
    """The line of this point, in a plot over sizes."""
    size: int = 0


@dataclass(frozen=True)
class Table:
    """A title, rows, and explaining notes."""

    name: str
    """The name of the plot's file; empty for no plot."""
    title: str
    rows: Sequence[Row]
    notes: list[str] = field(default_factory=list)

    @cached_property
    def rounds(self) -> int:
        """The number of rounds."""
        return len(self.rows[0].values)

    def ratio(self, row: Row) -> Figure | None:
        """Return the ratio of a row to its baseline, or `None` when it cannot be computed."""
        base = next(other for other in self.rows if other.name == row.baseline)
        values = ratios(row.values, base.values)
        return None if values is None else figure(values)

    def text(self) -> str:
        """Return the table as text."""
        lines = [HEADER]
        for row in self.rows:
            at = figure(row.values)
            spread = f"{number(at.low)} – {number(at.high)}"
            ratio = None if row.baseline == row.name else self.ratio(row)
            compared = ("×1", "", "the baseline") if row.baseline == row.name else ("–", "", row.baseline)
            if ratio is not None:
                compared = (f"×{number(ratio.median)}", f"{number(ratio.low)} – {number(ratio.high)}", row.baseline)
            lines.append((row.name, f"{number(at.median)} {row.unit}", spread, *compared))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [self.title + (f" ({self.rounds} rounds)" if self.rounds > 1 else " (1 round)")]
        for cells in lines:
            places = [cell.ljust if at in (0, 5) else cell.rjust for at, cell in enumerate(cells)]
            shown.append("  " + "   ".join(place(width) for place, width in zip(places, widths, strict=True)).rstrip())
        for note in self.notes:
            shown += wrap(note, 116, initial_indent="  * ", subsequent_indent="    ", break_on_hyphens=False)
        return "\n".join(shown)

    def as_json(self) -> dict[str, Any]:
        """Return the table as a value for JSON."""
        rows = []
        for row in self.rows:
            ratio = self.ratio(row)
            rows.append(
                {
                    "name": row.name,
                    "unit": row.unit,
                    "values": list(row.values),
                    **figure(row.values)._asdict(),
                    "baseline": row.baseline,
                    "ratio": None if ratio is None else ratio._asdict(),
                }
            )
        return {"name": self.name, "title": self.title, "rows": rows, "notes": self.notes}


def number(value: float) -> str:
    """Return a number with about three digits, because measurements are not more exact."""
    if value == 0 or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
