from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.data import ruth
from examples.data.ruth_outline import GLOSSES, NOTES, PASSAGES, TEAM

ROOT = Path(__file__).resolve().parents[2]
VERSES = {1: 22, 2: 23, 3: 18, 4: 22}


@pytest.fixture(scope="module")
def history() -> list[dict[str, Any]]:
    return ruth.changes()


def test_it_is_the_same_every_time(history: list[dict[str, Any]]) -> None:
    assert ruth.changes() == history


def test_it_is_a_few_hundred_changes_of_every_kind(history: list[dict[str, Any]]) -> None:
    assert 300 <= len(history) <= 500
    assert {change["operation"] for change in history} == {"create", "update", "delete"}
    kinds = Counter(change["entityType"] for change in history)
    assert set(kinds) == {"portion", "passage", "video", "gloss", "note"}
    assert min(kinds.values()) > 10


def test_every_field_is_valid_for_the_api(history: list[dict[str, Any]]) -> None:
    for change in history:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}", change["projectId"])
        assert re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", change["entityType"])
        for name in ("entityId", "cid", "changeBy"):
            assert 1 <= len(change[name]) <= 255
            assert change[name].isprintable()
        assert isinstance(change["data"], dict)
        assert change["data"]
        json.dumps(change, ensure_ascii=False, allow_nan=False).encode()


def test_cids_are_unique_and_carry_their_time(history: list[dict[str, Any]]) -> None:
    assert len({change["cid"] for change in history}) == len(history)
    for change in history:
        moment = datetime.fromisoformat(change["timestamp"])
        assert change["cid"].startswith(f"{moment:%Y-%m%d-%H%M%S}-")


def test_it_happens_in_order_and_in_working_hours(history: list[dict[str, Any]]) -> None:
    moments = [datetime.fromisoformat(change["timestamp"]) for change in history]
    assert moments == sorted(set(moments))
    assert all(moment.weekday() < 5 and 8 <= moment.hour < 17 for moment in moments)
    assert timedelta(weeks=4) < moments[-1] - moments[0] < timedelta(weeks=9)


def test_an_entity_is_created_first_and_nothing_follows_its_deletion(history: list[dict[str, Any]]) -> None:
    alive: dict[tuple[str, str], bool] = {}
    for change in history:
        entity = (change["entityType"], change["entityId"])
        if change["operation"] == "create":
            assert entity not in alive
        else:
            assert alive[entity]
        alive[entity] = change["operation"] != "delete"


def test_videos_get_ever_newer_versions_whose_segments_fill_them(history: list[dict[str, Any]]) -> None:
    versions: dict[str, int] = {}
    for change in history:
        video = change["data"]
        if change["entityType"] != "video" or "version" not in video:
            continue
        assert video["version"] == versions.get(change["entityId"], 0) + 1
        versions[change["entityId"]] = video["version"]
        ends = [segment["endMs"] for segment in video["segments"]]
        assert [segment["beginMs"] for segment in video["segments"]] == [0, *ends[:-1]]
        assert ends[-1] == video["durationMs"]
    assert max(versions.values()) >= 3


def test_the_passages_cover_the_85_verses_once() -> None:
    covered = [(p.chapter, verse) for p in PASSAGES for verse in range(p.first, p.last + 1)]
    assert covered == [(chapter, verse) for chapter, last in VERSES.items() for verse in range(1, last + 1)]
    assert len(covered) == 85


def test_every_gloss_and_note_of_the_outline_is_used(history: list[dict[str, Any]]) -> None:
    created = Counter(change["entityType"] for change in history if change["operation"] == "create")
    assert created["gloss"] == len(GLOSSES)
    assert created["note"] == len(NOTES)
    assert {change["changeBy"] for change in history} == {name for name, _ in TEAM.values()}


def test_the_data_contains_hebrew(history: list[dict[str, Any]]) -> None:
    assert any("\u05d0" <= letter <= "\u05ea" for change in history for letter in str(change["data"]))


def test_another_project_id_changes_nothing_else(history: list[dict[str, Any]]) -> None:
    other = ruth.changes("ruth-2")
    assert {change["projectId"] for change in other} == {"ruth-2"}
    assert [{**change, "projectId": "ruth-demo"} for change in other] == history


def test_as_a_script_it_prints_the_array(history: list[dict[str, Any]], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "data" / "ruth.py")]
    printed = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout
    assert json.loads(printed) == history
