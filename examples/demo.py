"""The demonstration over HTTP: starts the real server on an empty SQLite log, drives it, and checks each promise.

Run `make demo`, or `python examples/demo.py`. It deletes its log unless `--keep` is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # as a script, Python puts this folder on the path, not the one above it
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples.data import git_history, ruth
from examples.support import steps
from examples.support.client import Client
from examples.support.comparison import Difference
from examples.support.promises import Broken, require
from examples.support.report import Report, for_standard_output
from examples.support.server import Server, ServerError
from scripts.pipes import run_program
from sltt_core import ApiProblem, RemoteError

if TYPE_CHECKING:
    from types import FrameType

JSONObject = dict[str, Any]

RUTH = "ruth-demo"
GIT_LIMIT = 5_000  # changes; keeps the demonstration short
FAILURES = (Broken, Difference, RemoteError, ServerError)


def demonstrate(folder: Path, report: Report) -> JSONObject:
    """Run every step on a log in ``folder`` and return the figures."""
    started = time.perf_counter()
    with Server(folder, f"sqlite:{folder / 'demo.db'}") as server:
        client = Client(server.url)
        health = client.get("/health")
        require(health["status"] == "healthy", "a server that has started is healthy")
        seconds = time.perf_counter() - started
        report.title("sltt", f"a change log behind a REST API, empty, on {server.url}, up in {seconds:.2f} s")
        about_server = {"storage": health["storageType"], "startSeconds": round(seconds, 4)}
        figures: JSONObject = {"server": about_server}

        report.heading(1, "A sign-language translation of the Book of Ruth")
        figures["ruth"], stored = steps.append_and_read(client, report, RUTH, ruth.changes(RUTH), "ruth")
        steps.single(client, RUTH, stored)
        steps.life_of(report, "gloss-redeemer", stored)

        report.heading(2, "The history of this git repository, one entity a file")
        figures["git"] = _git(client, report)

        report.heading(3, "A device sends a batch again, because the response was lost")
        first = ruth.changes(RUTH)[: steps.BATCH]
        figures["replay"] = steps.replay(client, report, first, steps.batch_key("ruth", 1))

        report.heading(4, "Three bad changes among three good ones")
        figures["badBatch"] = steps.bad_batch(client, report, RUTH)

        report.heading(5, "Eight writers and a reader, one project")
        figures["writers"] = steps.concurrent_writers(client, report)

        report.heading(6, "History does not change silently: a hash chain")
        figures["chain"] = steps.chain(client, report, RUTH)

        report.heading(7, "Statistics, without reading the log")
        figures["stats"] = steps.statistics(client, report)

        client.close()
        figures["server"]["exitCode"] = server.stop()
    figures["seconds"] = round(time.perf_counter() - started, 4)
    return figures


def _git(client: Client, report: Report) -> JSONObject:
    """Append the history of the git repository of this file, if it is in one."""
    try:
        top = git_history.top_folder(Path(__file__).resolve().parent)
        # With the prefix, the id differs from the other projects whatever the name of the folder.
        project = f"git:{git_history.derived_project_id(top.name)}"[:128]
        history = list(islice(git_history.changes(top, project), GIT_LIMIT))
    except git_history.GitError as error:
        report.row("left out", str(error))
        return {"skipped": str(error)}
    if not history:
        report.row("left out", "the commits touch no files")
        return {"skipped": "the commits touch no files"}
    if len(history) == GIT_LIMIT:
        report.row("limit", f"the first {GIT_LIMIT:,} changes")
    figures, _ = steps.append_and_read(client, report, project, history, "git")
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Start the server on an empty log, drive it over HTTP, and check its promises.",
        epilog="Exit code: 0 when every promise held, 1 when one did not, 130 after Ctrl-C, 141 when nobody reads the "
        "output. "
        "Example: python examples/demo.py --json --keep",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of the report")
    parser.add_argument("--keep", action="store_true", help="keep the log and print its path")
    return parser.parse_args()


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that SIGTERM stops the server as Ctrl-C does


def main() -> int:
    """Run the command line; return the exit code."""
    options = _arguments()
    signal.signal(signal.SIGTERM, _end)
    report = Report(None) if options.json else for_standard_output()
    folder = Path(tempfile.mkdtemp(prefix="sltt-demo-"))
    try:
        figures = demonstrate(folder, report)
        if options.keep:
            figures["log"] = str(folder / "demo.db")
    except FAILURES as error:
        print(f"demo: {_explained(error)}", file=sys.stderr)
        return 1
    except LookupError as error:
        print(f"demo: a response does not contain what the API promises: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f"demo: the log is in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(figures, indent=2, ensure_ascii=False))
        return 0
    code, seconds = figures["server"]["exitCode"], figures["seconds"]
    print()
    report.proof(f"every promise held; SIGINT stopped the server (exit code {code}); {seconds:.1f} s in all")
    if options.keep:
        report.row("look again", f"sltt serve --storage sqlite:{figures['log']}")
    return 0


def _explained(error: Exception) -> str:
    if isinstance(error, Broken):
        return f"this promise does not hold: {error}"
    if isinstance(error, ApiProblem):
        return f"the server responded with status {error.status}: {error}"
    return str(error)


if __name__ == "__main__":
    run_program(main)
