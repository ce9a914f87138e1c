"""The report that both demonstrations print: headings, labelled lines, tables."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL_WIDTH = 11
BOLD, DIM, GREEN, YELLOW, CYAN = "1", "2", "32", "33", "36"


class Report:
    """Writes to a text stream; with colours on a terminal unless ``NO_COLOR`` is set."""

    def __init__(self, stream: TextIO | None) -> None:
        """``stream`` is ``None`` for a report that prints nothing."""
        self._stream = stream
        self._colours = (
            stream is not None and stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        )

    def title(self, text: str, subtitle: str) -> None:
        """Print the first line of the report."""
        self._line(f"{self._paint(BOLD, text)}  {self._paint(DIM, subtitle)}")

    def heading(self, number: int, text: str) -> None:
        """Print the first line of a section."""
        self._line(f"\n{self._paint(CYAN, str(number))} {self._paint(BOLD, text)}")

    def row(self, label: str, text: str) -> None:
        """Print a line with a label; an empty label continues the line before."""
        self._line(f"  {self._paint(DIM, label.ljust(LABEL_WIDTH))} {text}")

    def proof(self, text: str) -> None:
        """Print a line about a promise that was checked."""
        self._line(f"  {self._paint(GREEN, '✓')} {text}")

    def refusal(self, text: str) -> None:
        """Print a line about an expected refusal of the server."""
        self._line(f"  {self._paint(YELLOW, '✗')} {text}")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print columns: the first and the last are left-aligned, the numbers between right-aligned."""
        left = (0, len(header) - 1)
        cells = [[f"{value:,}" if isinstance(value, int) else str(value) for value in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
        for number, row in enumerate([list(header), *cells]):
            places = [text.ljust if column in left else text.rjust for column, text in enumerate(row)]
            line = "   ".join(place(width) for place, width in zip(places, widths, strict=True)).rstrip()
            self._line("  " + (self._paint(DIM, line) if number == 0 else line))

    def _line(self, text: str) -> None:
        if self._stream is not None:
            print(text, file=self._stream, flush=True)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text


def for_standard_output() -> Report:
    """Return a report on standard output; characters that its encoding does not have are replaced."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    return Report(sys.stdout)
