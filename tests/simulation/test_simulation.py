"""Schedules: every promise holds in each, and a seed always gives the same schedule."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.checker import violations
from tests.simulation.faults import FAULTS
from tests.simulation.team import TeamWorld
from tests.simulation.world import World

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 100
"""Number of schedules in one test, which takes a second or two."""


@pytest.mark.parametrize("first", range(BLOCK, 20 * BLOCK, BLOCK))
def test_every_promise_holds(first: int) -> None:
    for seed in range(first, first + BLOCK):
        assert violations(World(seed).run().history) == [], f"replay it: make simulate SEED={seed}"


@pytest.mark.parametrize("first", range(0, 4 * BLOCK, BLOCK))
def test_every_promise_about_members_holds(first: int) -> None:
    requests: Counter[object] = Counter()
    for seed in range(first, first + BLOCK):
        outcome = TeamWorld(seed).run()
        assert violations(outcome.history) == [], f"replay it: make simulate SEED={seed} ARGS=--members"
        requests.update((sent.action, sent.refusal) for sent in outcome.history.sent)
        requests.update(sent.refusal for sent in outcome.history.sent)
        requests.update(sent.ended is None for sent in outcome.history.sent)
    allowed = [(action, "") for action in ("read", "append", "grant", "leave", "list")]
    expected = [*allowed, "not-found", "not-allowed", "access-revoked", None, True]
    assert not [outcome for outcome in expected if not requests[outcome]]


def test_every_fault_and_every_outcome_occurs() -> None:
    faults: Counter[str] = Counter()
    responses: Counter[str] = Counter()
    for seed in range(BLOCK):
        outcome = World(seed).run()
        faults.update(outcome.faults)
        assert violations(outcome.history) == [], f"replay it: make simulate SEED={seed}"
        for call in outcome.history.calls:
            responses[call.method] += call.acknowledged
            responses["died"] += call.ended is None
            responses["error"] += call.error is not None
            responses["replayed"] += call.method == "create_changes" and call.acknowledged and call.response.replayed
    assert not [name for name in FAULTS if not faults[name]]
    assert faults["restored to a point in time"]
    assert faults["expired credentials refused"]
    methods = ("create_changes", "get_changes_with_cursor", "get_change", "get_head", "get_change_stats", "repair")
    assert not [name for name in (*methods, "died", "error", "replayed", "mark_as_outdated") if not responses[name]]


@pytest.mark.parametrize("seed", [3, 451])
def test_a_seed_always_gives_the_same_trace(seed: int) -> None:
    first, second = World(seed).run(), World(seed, tracing=True).run()
    assert first.digest == second.digest
    assert len(second.trace) > 50
    assert World(seed + 1).run().digest != first.digest
    assert TeamWorld(seed).run().digest == TeamWorld(seed).run().digest


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **environ},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def replayed(seed: int, hash_seed: str) -> Any:
    return json.loads(run("--seed", str(seed), "--json", PYTHONHASHSEED=hash_seed).stdout)


def test_the_trace_does_not_depend_on_hashes() -> None:
    one, other = replayed(5, "1"), replayed(5, "2")
    assert one == other
    assert one["digest"] == World(5).run().digest
    assert one["violations"] == []


def test_the_command_prints_the_result() -> None:
    done = run("--seeds", "3", "--from", "10")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("3 schedules, ")
    assert ": 0 violations" in done.stdout
    counted = json.loads(run("--seeds", "3", "--from", "10", "--json").stdout)
    assert (counted["schedules"], counted["violations"]) == (3, [])
    assert run("--seeds", "2", "--members").stdout.splitlines()[-1].startswith("2 schedules, ")
    several = run("--seeds", "41", "--devices", "--jobs", "2")
    assert several.stdout.splitlines()[-1].startswith("41 schedules, "), several.stderr
    trace = run("--seed", "10").stdout
    assert " call process-" in trace
    assert "seed 10: " in trace.splitlines()[-1]


@pytest.mark.parametrize(
    "wrong", [["--seeds", "0"], ["--seeds", "many"], ["--seed", "x"], ["--no-such-thing"], ["--members", "--devices"]]
)
def test_a_wrong_argument_is_an_error(wrong: list[str]) -> None:
    done = run(*wrong)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_run_with_the_results_so_far() -> None:
    program = (
        # A process that a shell starts in the background ignores SIGINT, and its children inherit that.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from tests.simulation.__main__ import main; print(1, flush=True); exit(main())"
    )
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--seeds", "1000000"],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        process.stdout.readline()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            assert process.wait(20) == 130
        finally:
            process.kill()
        assert b"stopped by Ctrl-C" in process.stdout.read()
