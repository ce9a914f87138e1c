"""A sign-language translation of the Book of Ruth, as the changes its team would have written.

Seven weeks of work by six people: 17 passages are planned, drafted on video, checked by the team, by the
community and by a consultant, recorded again where a check asked for it, and approved. The tables of
``ruth_outline`` say what there was to do; this module says when it was done, and by whom.

There is no randomness and no clock in it: every call gives the same changes.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

if not __package__:  # as a script, Python puts this folder on the path, not the root of the repository
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.data.ruth_outline import BAD_TAKES, CHAPTERS, GLOSSES, NOTES, PASSAGES, TEAM, Gloss, Note, Passage

JSONObject = dict[str, object]

START = datetime(2025, 3, 10, 8, 30)  # a Monday; UTC
WORKDAY = timedelta(hours=8, minutes=15)

# Working days, counted from the start. A passage is drafted on a day of its own, one after the other.
FIRST_DRAFT = 2
TEAM_CHECK, COMMUNITY_CHECK, CONSULTANT_CHECK, APPROVAL = 1, 6, 11, 13  # days after the draft
NOTE_DAYS = {"team": TEAM_CHECK, "community": COMMUNITY_CHECK, "consultant": CONSULTANT_CHECK}


class Entry(NamedTuple):
    """One action of one person on one working day."""

    day: int
    member: str
    entity_type: str
    entity_id: str
    operation: str
    data: JSONObject


def changes(project_id: str = "ruth-demo") -> list[JSONObject]:
    """The whole history, oldest first, each change as ``POST /api/changes`` accepts it."""
    entries = [*_portions(), *_glosses()]
    for number, passage in enumerate(PASSAGES):
        entries += _passage(passage, FIRST_DRAFT + number)
    entries.sort(key=lambda entry: entry.day)  # stable: entries of one day keep their order
    days: dict[int, list[Entry]] = {}
    for entry in entries:
        days.setdefault(entry.day, []).append(entry)
    return [
        _change(project_id, entry, _moment(day, position, len(today)))
        for day, today in days.items()
        for position, entry in enumerate(today)
    ]


def _change(project_id: str, entry: Entry, moment: datetime) -> JSONObject:
    return {
        "projectId": project_id,
        "entityType": entry.entity_type,
        "entityId": entry.entity_id,
        "operation": entry.operation,
        "timestamp": moment.isoformat(timespec="milliseconds") + "Z",
        "changeBy": TEAM[entry.member][0],
        "cid": f"{moment:%Y-%m%d-%H%M%S}-{entry.member}",  # unique: no two moments are the same
        "data": entry.data,
    }


def _moment(day: int, position: int, count: int) -> datetime:
    """When the change at ``position`` of the ``count`` changes of a working day was made.

    Each has an equal share of the day to itself, and falls somewhere within it, so that moments are in order.
    """
    share = int(WORKDAY.total_seconds()) // count
    week, weekday = divmod(day, 5)
    seconds = position * share + (position * 137 + day * 61) % share
    return START + timedelta(weeks=week, days=weekday, seconds=seconds)


def _portions() -> list[Entry]:
    """The book, its chapters as scenes, and an introduction that was planned and dropped."""
    book: JSONObject = {"title": "Ruth", "titleHebrew": "רוּת", "verses": 85}
    book["team"] = [{"name": name, "role": role} for name, role in TEAM.values()]
    entries = [
        Entry(0, "wk", "portion", "ruth", "create", book),
        Entry(0, "wk", "portion", "ruth-0", "create", {"title": "Introduction", "parent": "ruth", "rank": 0}),
    ]
    for chapter, title in CHAPTERS.items():
        own = [(number, passage) for number, passage in enumerate(PASSAGES) if passage.chapter == chapter]
        scene: JSONObject = {"title": title, "parent": "ruth", "rank": chapter}
        scene["passages"] = [passage.id for _, passage in own]
        began, finished = FIRST_DRAFT + own[0][0], FIRST_DRAFT + own[-1][0] + APPROVAL
        portion = f"ruth-{chapter}"
        entries += [
            Entry(0, "wk", "portion", portion, "create", scene),
            Entry(began, "wk", "portion", portion, "update", {"status": "in progress"}),
            Entry(finished + 1, "wk", "portion", portion, "update", {"status": "approved"}),
        ]
    last = FIRST_DRAFT + len(PASSAGES) + APPROVAL
    reason: JSONObject = {"reason": "the background is told in the notes of each passage"}
    done: JSONObject = {"status": "approved", "publication": {"version": "1.0"}}
    entries += [
        Entry(FIRST_DRAFT + 9, "wk", "portion", "ruth-0", "delete", reason),
        Entry(last, "mb", "portion", "ruth", "update", done),
    ]
    return entries


def _glosses() -> list[Entry]:
    """Every key term: proposed on the day before its passage is drafted, agreed on soon after."""
    return [entry for gloss in GLOSSES for entry in _gloss(gloss)]


def _gloss(gloss: Gloss) -> list[Entry]:
    number, passage = next(item for item in enumerate(PASSAGES) if _holds(item[1], gloss.verse))
    day = FIRST_DRAFT + number - 1
    name = f"gloss-{gloss.key}"
    entries = [
        Entry(
            day,
            passage.signer,
            "gloss",
            name,
            "create",
            {
                "gloss": gloss.key.upper(),
                "hebrew": gloss.hebrew,
                "meaning": gloss.meaning,
                "sign": {"description": gloss.sign, "version": 1, "clip": f"{name}_v1.mp4"},
                "firstVerse": f"Ruth {gloss.verse}",
            },
        )
    ]
    if gloss.dropped:
        return [*entries, Entry(day + 2, "wk", "gloss", name, "delete", {"reason": gloss.dropped})]
    entries.append(Entry(day + 2, "wk", "gloss", name, "update", {"status": "agreed"}))
    if gloss.revised:
        sign = {"description": gloss.revised, "version": 2, "clip": f"{name}_v2.mp4"}
        revision: JSONObject = {"sign": sign, "reason": "community checking"}
        entries.append(Entry(day + COMMUNITY_CHECK + 2, passage.signer, "gloss", name, "update", revision))
    return entries


def _passage(passage: Passage, draft: int) -> list[Entry]:
    """One passage from plan to approval, with its video and its notes."""
    notes = [note for note in NOTES if _holds(passage, note.verse)]
    entries = [
        Entry(
            0,
            "wk",
            "passage",
            passage.id,
            "create",
            {
                "title": passage.title,
                "portion": f"ruth-{passage.chapter}",
                "reference": {"book": "RUT", "range": passage.verses},
                "status": "planned",
            },
        )
    ]
    if passage.verses in BAD_TAKES:
        lost, reason = f"{passage.id}-take-0", BAD_TAKES[passage.verses]
        entries += [
            Entry(draft, passage.signer, "video", lost, "create", _video(passage, 1, "take0")),
            Entry(draft, passage.signer, "video", lost, "delete", {"reason": reason}),
        ]
    entries += [
        Entry(draft, passage.signer, "video", f"{passage.id}-video", "create", _video(passage, 1, "v1")),
        Entry(draft, passage.signer, "passage", passage.id, "update", {"status": "drafted"}),
    ]
    version = 1
    for stage, checker in (("team", "wk"), ("community", "zl"), ("consultant", "mb")):
        day = draft + NOTE_DAYS[stage]
        raised = [(number, note) for number, note in enumerate(notes, start=1) if note.stage == stage]
        for number, note in raised:
            entries += _note(passage, f"{passage.id}-note-{number}", note, day)
        still_open = sum(note.outcome == "open" for _, note in raised)
        status: JSONObject = {"status": f"{stage} checked", "openNotes": still_open}
        entries.append(Entry(day, checker, "passage", passage.id, "update", status))
        # A team check always ends in a cleaner recording; the later checks only when they raised a note.
        if stage == "team" or any(note.response for _, note in raised):
            version += 1
            video = _video(passage, version, f"v{version}")
            entries += [
                Entry(day + 1, passage.signer, "video", f"{passage.id}-video", "update", video),
                Entry(day + 1, "dc", "video", f"{passage.id}-video", "update", _edit(passage, version)),
            ]
    approved: JSONObject = {"status": "approved", "approved": {"by": TEAM["mb"][0], "videoVersion": version}}
    return [*entries, Entry(draft + APPROVAL, "mb", "passage", passage.id, "update", approved)]


def _note(passage: Passage, name: str, note: Note, day: int) -> list[Entry]:
    """A note, its reply and its outcome."""
    text: JSONObject = {
        "passage": passage.id,
        "reference": f"Ruth {note.verse}",
        "stage": note.stage,
        "text": note.text,
    }
    entries = [Entry(day, note.author, "note", name, "create", text)]
    if note.response:
        response = {"by": TEAM[passage.signer][0], "text": note.response}
        entries.append(Entry(day + 1, passage.signer, "note", name, "update", {"replies": [response]}))
    if note.outcome == "resolved":
        entries.append(Entry(day + 2, note.author, "note", name, "update", {"resolved": True}))
    elif note.outcome == "deleted":
        entries.append(Entry(day + 1, note.author, "note", name, "delete", {"reason": "nothing left to do"}))
    return entries


def _video(passage: Passage, version: int, suffix: str) -> JSONObject:
    """A recording: its file, and where each verse begins and ends in it."""
    segments: list[JSONObject] = []
    end = 0
    for verse in range(passage.first, passage.last + 1):
        begin, end = end, end + 7_500 + (passage.chapter * 31 + verse * 17 + version * 7) % 13 * 640
        segments.append({"verse": f"{passage.chapter}:{verse}", "beginMs": begin, "endMs": end})
    return {
        "passage": passage.id,
        "version": version,
        "fileName": f"{passage.id}_{suffix}.mp4",
        "durationMs": end,
        "signer": TEAM[passage.signer][0],
        "format": {"codec": "h264", "width": 1920, "height": 1080, "framesPerSecond": 29.97},
        "segments": segments,
    }


def _edit(passage: Passage, version: int) -> JSONObject:
    """The metadata that the video editor adds to a recording."""
    file_name = f"{passage.id}_v{version}_cut.mp4"
    return {"edited": {"fileName": file_name, "colour": "balanced", "stillFrames": 12}}


def _holds(passage: Passage, reference: str) -> bool:
    chapter, verse = map(int, reference.split(":"))
    return passage.chapter == chapter and passage.first <= verse <= passage.last


def main() -> None:
    """Print the history as one JSON array."""
    sys.stdout.buffer.write(json.dumps(changes(), ensure_ascii=False, indent=1).encode() + b"\n")


if __name__ == "__main__":
    from scripts.pipes import run_program

    run_program(main)
