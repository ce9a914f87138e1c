"""The benches run at a small size, and their statistics are right."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.__main__ import BENCHES, report, run
from bench.support.context import SIZES, BenchContext, Progress
from bench.support.stats import figure, quantile, ratios
from bench.support.tables import Row, Table, number

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
TINY = SIZES["tiny"]


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_runs(name: str, tmp_path: Path) -> None:
    tables = run([name], "tiny", tmp_path, Progress(io.StringIO()))

    if name == "memory" and not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell what a process takes")
    assert tables
    for table in tables:
        names = [row.name for row in table.rows]
        assert len(names) == len(set(names))
        for row in table.rows:
            assert row.baseline in names
            assert len(row.values) == table.rounds
            assert all(value >= 0 for value in row.values)
    assert all(name in report(tables, {}, as_json=False) for table in tables for name, *_ in table.rows)
    assert len(json.loads(report(tables, {}, as_json=True))["tables"]) == len(tables)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_the_help_names_every_bench_and_shows_examples() -> None:
    done = bench("--help")
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in BENCHES)
    assert "make bench ARGS=--quick" in done.stdout


def test_an_unknown_bench_is_refused() -> None:
    done = bench("speed")
    assert done.returncode == 2
    assert "bench 'speed' is not valid: one of appends, growth," in done.stderr


def test_figures_go_to_stdout_and_the_rest_to_stderr(tmp_path: Path) -> None:
    done = bench("imports", "--tiny", "--json", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tables"][0]["rows"][0]["baseline"] == "bare interpreter"
    assert done.stderr.startswith("imports: ")


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
@pytest.mark.parametrize("name", ["appends", "growth"])
def test_it_can_be_stopped(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", name, "--folder", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline().startswith(f"{name}: ")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == "bench: stopped\n"
        assert process.stdout.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_plots_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="it is installed for `make bench` only")
    from bench.support import plots

    bars = Table("bars", "Bars", [Row("a", "ms", [1, 2, 3], "a"), Row("b", "ms", [2, 3, 4], "a")])
    lines = Table("lines", "Lines", [Row(f"a, {n}", "ms", [n, n], "a, 1", "a", n) for n in (1, 10)])
    unnamed = Table("", "Nothing to draw", bars.rows)
    drawn = plots.draw([bars, lines, unnamed], tmp_path)
    assert [path.name for path in drawn] == ["bars.png", "lines.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_progress_without_a_terminal_is_a_line_for_each_bench() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.begin("growth")
    progress.step("round 1")
    progress.end()
    assert stream.getvalue() == "growth\n"


def test_every_second_round_runs_in_reverse_order(tmp_path: Path) -> None:
    order: list[str] = []

    def case(name: str) -> Callable[[], int]:
        def measure() -> int:
            order.append(name)
            return len(order)

        return measure

    found = BenchContext(tmp_path, TINY, Progress(io.StringIO())).rounds({name: case(name) for name in "abc"}, 2)
    assert order == [*"abccba"]
    assert found == {"a": [1, 6], "b": [2, 5], "c": [3, 4]}


# The statistics


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [
        ([7], 0.99, 7),
        ([3, 1, 2], 0.5, 2),
        ([4, 1, 3, 2], 0.5, 2.5),
        ([4, 1, 3, 2], 0, 1),
        ([4, 1, 3, 2], 1, 4),
        (range(101), 0.99, 99),
        ([0, 10], 0.25, 2.5),
    ],
)
def test_a_quantile_lies_between_the_values_around_it(values: list[float], part: float, expected: float) -> None:
    assert quantile(values, part) == pytest.approx(expected)


@pytest.mark.parametrize(("values", "part"), [([], 0.5), ([1], 1.1), ([1], -0.1)])
def test_an_impossible_quantile_is_refused(values: list[float], part: float) -> None:
    with pytest.raises(ValueError, match=r"there are no values|is not from 0 to 1"):
        quantile(values, part)


def test_a_figure_is_the_median_and_the_middle_half() -> None:
    assert figure([5, 1, 900, 2, 3]) == (3, 2, 5, 5)


def test_a_ratio_is_taken_round_by_round() -> None:
    # While the machine was busy, in the second round, both were slow.
    assert ratios([10, 2, 12], [5, 1, 4]) == [2, 2, 3]


def test_a_ratio_to_zero_is_undefined() -> None:
    assert ratios([1, 2], [1, 0]) is None


def test_different_numbers_of_rounds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="2 rounds cannot be compared with 1"):
        ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (3, "3"),
        (1234567.8, "1,234,568"),
        (99.96, "100.0"),
        (12.34, "12.3"),
        (1.005, "1.00"),
        (0.0123, "0.012"),
    ],
)
def test_a_number_has_three_digits_or_so(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_table_shows_figures_and_ratios() -> None:
    table = Table(
        "",
        "Speed",
        [Row("by hand", "/s", [10, 20, 30], "by hand"), Row("ours", "/s", [5, 20, 60], "by hand")],
        ["Higher is better."],
    )
    shown = [line.split() for line in table.text().splitlines()]
    assert shown[0] == ["Speed", "(3", "rounds)"]
    assert shown[2] == ["by", "hand", "20", "/s", "15", "–", "25", "×1", "the", "baseline"]
    assert shown[3] == ["ours", "20", "/s", "12.5", "–", "40", "×1", "0.75", "–", "1.50", "by", "hand"]
    assert shown[4] == ["*", "Higher", "is", "better."]


def test_a_table_shows_no_ratio_to_zero() -> None:
    table = Table("", "Memory", [Row("short", "kB", [0], "short"), Row("long", "kB", [8], "short")])
    assert table.text().splitlines()[3].split() == ["long", "8", "kB", "8", "–", "8", "–", "short"]
    assert table.as_json()["rows"][1]["ratio"] is None
