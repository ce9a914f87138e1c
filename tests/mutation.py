"""How tests run under `make mutate`: hundreds of times, each time in a fork of one process, until the first fails."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import Phase, settings

from tests.dynamodb_model.serve import ModelServer

PROFILE = "mutation"
MEASURED = Path("mutmut-stats.json")
_urls: dict[int, str] = {}


def model_url() -> str:
    """Return the URL of the model, served by a thread of this process."""
    process = os.getpid()  # a fork does not inherit the thread
    if process not in _urls:
        server = ModelServer()
        Thread(target=server.serve_forever, daemon=True).start()
        _urls[process] = server.url
    return _urls[process]


def quickest_first(items: list[pytest.Item]) -> None:
    """Sort the tests by the time that they took when mutmut ran them without a mutant.

    Hypothesis draws the same examples in each run, and does not look for a simpler one when a test has failed.
    """
    settings.register_profile(
        PROFILE, derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate)
    )
    settings.load_profile(PROFILE)
    if MEASURED.exists():
        seconds = json.loads(MEASURED.read_text())["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))
