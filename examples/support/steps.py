"""The steps of the demonstration: each drives the server, proves a promise, and returns its figures."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from examples.support.client import Client, project_path
from examples.support.comparison import Difference, compare
from examples.support.promises import Broken, require
from sltt_core import ApiProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from examples.support.report import Report

JSONObject = dict[str, Any]

BATCH = 98  # the maximum that every storage appends in one atomic write
PAGE = 100
WRITERS, POSTS, PER_POST = 8, 5, 5
WRITERS_PROJECT = "eight-writers"


def append_and_read(
    client: Client, report: Report, project: str, changes: Iterable[JSONObject], label: str
) -> tuple[JSONObject, list[JSONObject]]:
    """Append changes in batches, read them back page by page, and compare. Returns figures and changes."""
    sent: list[JSONObject] = []
    spent = 0.0
    batches = 0
    for batches, batch in enumerate(_batches(changes), start=1):
        started = time.perf_counter()
        response = client.append(batch, batch_key(label, batches))
        spent += time.perf_counter() - started
        expected = list(range(len(sent) + 1, len(sent) + len(batch) + 1))
        require(response["createdSeqs"] == expected, f"batch {batches} gets the next {len(batch)} numbers")
        sent += batch
    report.row("append", _count(sent, batches, "atomic batch", "es") + _pace(len(sent), spent))

    started = time.perf_counter()
    pages = list(client.pages(project, PAGE))
    spent_on_pages = time.perf_counter() - started
    stored = [change for page in pages for change in page["changes"]]
    report.row("read back", _count(stored, len(pages), "page") + _pace(len(stored), spent_on_pages))
    fields = compare(sent, stored)
    report.proof(f"all {fields:,} fields are as they were sent; the numbers are 1 to {len(stored):,}, no gap")
    figures = {
        "project": project,
        "changes": len(sent),
        "batches": batches,
        "pages": len(pages),
        "fieldsCompared": fields,
        "appendSeconds": round(spent, 4),
        "readSeconds": round(spent_on_pages, 4),
    }
    return figures, stored


def batch_key(label: str, number: int) -> str:
    """Return the idempotency key of a batch: the batch must be sent again with the same one."""
    return f"demo-{label}-batch-{number:05}"


def life_of(report: Report, entity_id: str, stored: list[JSONObject]) -> None:
    """Show the changes of one entity."""
    own = [change for change in stored if change["entityId"] == entity_id]
    steps = (f"#{change['seq']} {change['operation']} by {change['changeBy']}" for change in own)
    report.row("one term", f"{own[0]['data'].get('meaning', entity_id)}")
    report.row("", ", ".join(steps))


def replay(client: Client, report: Report, batch: list[JSONObject], key: str) -> JSONObject:
    """Send a batch again with its key, as a device does that did not get the first response."""
    project = batch[0]["projectId"]
    before = _total(client, project)
    response = client.append(batch, key)
    seqs = response["createdSeqs"]
    require(response.get("replayed") is True, "the response to a known key has replayed: true")
    require(seqs == list(range(1, len(batch) + 1)), "the response to a replay has the first numbers")
    require(_total(client, project) == before, "a replay stores nothing")
    again = f"the first response again, #{seqs[0]} to #{seqs[-1]}"
    report.proof(f"same key, same changes: {again}; the log still holds {before}")
    problem = _refused(client, batch[:1], key, 422)
    require(_total(client, project) == before, "a key with another body stores nothing")
    report.refusal(f"same key, other changes: {problem.status} {problem.title}")
    return {"replayed": len(seqs), "otherBody": problem.status, "total": before}


def bad_batch(client: Client, report: Report, project: str) -> JSONObject:
    """Send three bad changes among three good ones."""
    before = _total(client, project)
    good: JSONObject = {"projectId": project, "entityType": "note", "entityId": "note-1"}
    good["data"] = {"text": "nothing wrong with it"}
    batch = [
        good,
        {**good, "entityType": "hand shape"},
        good,
        {**good, "operation": "destroy"},
        {**good, "data": ["no", "object"], "timestamp": "yesterday"},
        good,
    ]
    problem = _refused(client, batch, batch_key("bad", 1), 400)
    body = problem.extensions
    require(body["failedAtIndex"] == 1, "failedAtIndex is the first bad change")
    require({error["index"] for error in body["errors"]} == {1, 3, 4}, "every bad change is reported")
    require(_total(client, project) == before, "a bad batch stores nothing")
    report.refusal(f"{problem.status} {problem.title}, failedAtIndex {body['failedAtIndex']}")
    for error in body["errors"]:
        report.row("", f"{error['field']}: {error['reason']}")
    if body.get("hint"):
        report.row("", f"hint: {body['hint']}")
    report.proof(f"nothing was stored, not even the good changes: still {before}")
    return {"status": problem.status, "failedAtIndex": body["failedAtIndex"], "errors": body["errors"]}


def concurrent_writers(client: Client, report: Report) -> JSONObject:
    """Append from eight threads at the same time while a reader follows the log."""
    total = WRITERS * POSTS * PER_POST
    start = threading.Barrier(WRITERS)
    began = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(_write, client.url, number, start) for number in range(WRITERS)]
        seen: list[JSONObject] = []
        polls = 0
        while len(seen) < total:
            finished = all(writer.done() for writer in writers)
            page = client.page(WRITERS_PROJECT, len(seen))
            polls += 1
            for change in page["changes"]:
                require(change["seq"] == len(seen) + 1, f"no reader skips a change (after #{len(seen)})")
                seen.append(change)
            if finished and not page["changes"]:
                for writer in writers:
                    writer.result()  # raises the error of the thread
                raise Broken(f"all {total} changes can be read (the last was #{len(seen)})")
        confirmed = Counter(seq for writer in writers for seq in writer.result())
    spent = time.perf_counter() - began
    require(confirmed == Counter(range(1, total + 1)), "every number is assigned once")
    for number in range(WRITERS):
        own = [change["cid"] for change in seen if change["entityId"] == f"writer-{number}"]
        require(own == _cids(number), "each writer's changes stay in their order")
    posts = WRITERS * POSTS
    report.row("append", f"{total} changes in {posts} requests of {WRITERS} threads{_pace(total, spent)}")
    report.proof(f"a reader read {polls} pages meanwhile and got 1 to {total} in order: no gap, no duplicate")
    figures = {"writers": WRITERS, "requests": posts, "changes": total, "polls": polls}
    return {**figures, "seconds": round(spent, 4)}


def _write(url: str, writer: int, start: threading.Barrier) -> list[int]:
    cids = iter(_cids(writer))
    seqs: list[int] = []
    start.wait(timeout=30)
    with closing(Client(url)) as client:
        for post in range(POSTS):
            batch = [_edit(writer, cid) for cid in islice(cids, PER_POST)]
            seqs += client.append(batch, batch_key(f"writer-{writer}", post))["createdSeqs"]
    return seqs


def _edit(writer: int, cid: str) -> JSONObject:
    return {
        "projectId": WRITERS_PROJECT,
        "entityType": "note",
        "entityId": f"writer-{writer}",
        "operation": "update",
        "cid": cid,
        "changeBy": f"device {writer}",
        "data": {"text": f"edit {cid}"},
    }


def _cids(writer: int) -> list[str]:
    return [f"{writer}-{number:03}" for number in range(POSTS * PER_POST)]


def chain(client: Client, report: Report, project: str) -> JSONObject:
    """Follow the hash chain, and continue with a right and with a wrong hash."""
    links = []
    for page in client.pages(project, PAGE):
        last = page["changes"][-1]
        require(page["through"] == last["seq"], "through is the last number of a page")
        require(page["chain"] == last["chain"], "chain is the hash at through")
        links.append((page["through"], page["chain"]))
    for number, (through, link) in enumerate(links):
        report.row("hashes" if number == 0 else "", f"{link} after #{through}")
    through, link = links[0]
    page = client.page(project, through, limit=1, chain=link)
    require(page["changes"][0]["seq"] == through + 1, "a reader with the right hash continues")
    report.proof(f"a reader that knows the hash at #{through} continues at #{through + 1}")
    try:
        client.page(project, through, limit=1, chain=links[1][1])
    except ApiProblem as problem:
        require(problem.status == 409, "a wrong hash gets a 409")
        report.refusal(f"a reader of another log: 409 {problem.title}")
    else:
        raise Broken("a wrong hash gets a 409")
    return {"links": [{"through": through, "chain": link} for through, link in links]}


def statistics(client: Client, report: Report) -> JSONObject:
    """Show the counts of every project."""
    projects = client.get("/api/projects")["projects"]
    rows, figures = [], {}
    for project in projects:
        stats = client.stats(project)
        counts = stats["changeStats"]
        require(counts["total"] == counts["creates"] + counts["updates"] + counts["deletes"], "the counts add up")
        types = ", ".join(f"{count:,} {name}" for name, count in sorted(stats["entityTypeStats"].items()))
        rows.append([project, *(counts[name] for name in ("total", "creates", "updates", "deletes")), types])
        figures[project] = {"changes": counts, "entityTypes": stats["entityTypeStats"]}
    report.table(("project", "total", "create", "update", "delete", "entity types"), rows)
    return figures


def single(client: Client, project: str, stored: list[JSONObject]) -> None:
    """Check that a change that is read alone equals the change of the page."""
    change = stored[len(stored) // 2]
    alone = client.get(f"{project_path(project)}/changes/{change['seq']}")
    if alone != change:
        raise Difference(f"change {change['seq']} that is read alone differs from the one of the page")


def _batches(changes: Iterable[JSONObject]) -> Iterator[list[JSONObject]]:
    source = iter(changes)
    while batch := list(islice(source, BATCH)):
        yield batch


def _total(client: Client, project: str) -> int:
    return int(client.stats(project)["changeStats"]["total"])


def _refused(client: Client, batch: list[JSONObject], key: str, status: int) -> ApiProblem:
    try:
        client.append(batch, key)
    except ApiProblem as problem:
        require(problem.status == status, f"the status is {status} (it was {problem.status}: {problem})")
        return problem
    raise Broken(f"the status is {status} (the server accepted the changes)")


def _count(changes: list[JSONObject], parts: int, noun: str, plural: str = "s") -> str:
    return f"{len(changes):,} changes in {parts:,} {noun}{plural if parts > 1 else ''}"


def _pace(count: int, seconds: float) -> str:
    return f" in {seconds:.2f} s: {count / max(seconds, 1e-9):,.0f} a second"
