"""Writes as hard as it can until it is killed: `python -m tests.sltt_core.sqlite.loaded_writer PATH NAME`.

Every acknowledged batch is a line on stdout: its name, its size and its numbers, as JSON.
"""

from __future__ import annotations

import json
import sys
from itertools import count
from threading import Lock, Thread

from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import new


def main(path: str, name: str) -> None:
    storage = LocalStorageService(path)
    storage.initialize()
    printing = Lock()

    def write(thread: int) -> None:
        for number in count():
            label = f"{name}-{thread}-{number}"
            size = (1, 1, 5, 98, 250)[(thread + number) % 5]
            given = [new(f"{label}-{place}", cid=f"{label}/{size}") for place in range(size)]
            seqs = storage.create_changes(given, f"key-{label:-<20}").seqs
            with printing:
                print(json.dumps([label, size, seqs]), flush=True)

    for thread in range(6):
        Thread(target=write, args=(thread,)).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
