"""A process of its own that appends to a log: `python -m tests.contract.workers URL PROJECT BATCHES SIZE NAME`.

It prints a line for each batch that was acknowledged: its name and its numbers, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sltt_core.server.storages import open_storage

if TYPE_CHECKING:
    from subprocess import Popen

    from tests.contract.logs import Log

ROOT = Path(__file__).resolve().parents[2]


def start_writer(log: Log, project_id: str, *, batches: int, size: int, name: str = "w") -> Popen[str]:
    """Start a writer; its acknowledgements come on its stdout."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract.workers", log.url, project_id, str(batches), str(size), name],
        cwd=ROOT,
        env={**os.environ, **log.environ},
        stdout=subprocess.PIPE,
        text=True,
    )


def main(url: str, project_id: str, batches: str, size: str, name: str) -> None:
    from tests.contract.logs import new

    with open_storage(url, project_id) as storage:
        for number in range(int(batches)):
            label = f"{name}-{number}"
            given = [new(f"{label}-{place}", data=f'{{"of":{size}}}') for place in range(int(size))]
            for change in given:
                assert change.project_id == "p"
            seqs = storage.create_changes(given).seqs
            print(json.dumps([label, seqs]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
