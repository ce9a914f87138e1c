"""`data=text` and the members about waiting in a page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.model.chain import GENESIS, check_links
from sltt_core.sync.results import change_of
from tests.http.entry_points import AppEntryPoint, EntryPoint, ProcessEntryPoint, post

if TYPE_CHECKING:
    from pathlib import Path

CHANGES = "/api/projects/p/changes"
TEXTS = (
    '{"verses":1.10,"big":123456789012345678901234567890,"e":1E+2}',
    '{ "a" : "\\u00e9\\n\\"quoted\\" \\\\ 日本 \U0001f600" }',
    "{}",
)


def sent(entry_point: EntryPoint, *texts: str) -> None:
    change = '{"projectId":"p","entityType":"t","entityId":"e","cid":"c","data":'
    body = f"[{','.join(f'{change}{text}}}' for text in texts)}]".encode()
    response = entry_point.ask("POST", "/api/changes", body, {"content-type": "application/json"})
    assert response.status == 200, response.body


def test_data_as_text_is_verbatim_and_has_the_links(entry_point: EntryPoint) -> None:
    sent(entry_point, *TEXTS)
    page = entry_point.ask("GET", f"{CHANGES}?data=text").json()
    assert [change["data"] for change in page["changes"]] == list(TEXTS)
    changes = [change_of(change) for change in page["changes"]]
    check_links(GENESIS, changes)
    plain = entry_point.ask("GET", f"{CHANGES}?data=object").json()
    assert [{**change, "data": json.loads(change["data"])} for change in page["changes"]] == plain["changes"]
    assert {**plain, "changes": [], "timestamp": ""} == {**page, "changes": [], "timestamp": ""}


def test_the_two_forms_of_a_page_have_different_entity_tags(entry_point: EntryPoint) -> None:
    sent(entry_point, "{}")
    tags = [entry_point.ask("GET", f"{CHANGES}{query}").headers["etag"] for query in ("", "?data=object", "?data=text")]
    assert tags[0] == tags[1] != tags[2]
    again = entry_point.ask("GET", f"{CHANGES}?data=text", headers={"if-none-match": tags[2]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("value", ["", "json", "TEXT", "text&data=text"])
def test_another_form_is_refused(entry_point: EntryPoint, value: str) -> None:
    response = entry_point.ask("GET", f"{CHANGES}?data={value}")
    assert response.status == 400
    assert response.json()["field"] == "data"


def test_escapes_make_a_page_shorter_not_larger_than_its_limit(entry_point: EntryPoint) -> None:
    """Each byte of these texts has an escape in a JSON string, which has another one in the response of a function."""
    text = '{"a":"' + '\\"' * 150_000 + '"}'
    for _ in range(7):
        sent(entry_point, text)
    seen: list[dict[str, Any]] = []
    through, link, sizes = 0, GENESIS, []
    while True:
        response = entry_point.ask("GET", f"{CHANGES}?data=text&cursor={through}&chain={link}")
        page = response.json()
        seen += page["changes"]
        sizes.append(len(response.body))
        through, link = page["through"], page["chain"]
        if "cursor" not in page:
            break
        assert page["cursor"] == through == len(seen)
    assert [change["data"] for change in seen] == [text] * 7
    assert len(sizes) > 1
    assert max(sizes) <= 4_001_000


def test_a_page_says_how_long_the_server_waits(entry_point: EntryPoint) -> None:
    post(entry_point, {})
    page = entry_point.ask("GET", CHANGES).json()
    never = isinstance(entry_point, (AppEntryPoint, ProcessEntryPoint))
    assert (page["waited"], page["maxWait"]) == (0, 0 if never else 60)
    page = entry_point.ask("GET", f"{CHANGES}?cursor=1&wait=0.05").json()
    assert (page["waited"] > 0) is not never


def test_a_function_that_may_wait_says_so(tmp_path: Path) -> None:
    entry_point = ProcessEntryPoint(tmp_path, settings={"MAX_WAIT_SECONDS": "0.25"})
    try:
        page = entry_point.ask("GET", f"{CHANGES}?cursor=0&wait=0.01").json()
        assert page["maxWait"] == 0.25
        assert page["waited"] > 0
    finally:
        entry_point.close()
