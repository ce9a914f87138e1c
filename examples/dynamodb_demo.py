"""The demonstration on DynamoDB: checks each promise through the Python API, then starts a server.

Run `make dynamodb` in one terminal and `python -m examples.dynamodb_demo` in another. Each run uses new projects, so a
table can be used again. The table keeps what was written.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from secrets import token_hex

from aws_backend.settings import open_dynamodb
from aws_backend.storage import LOCAL_ENDPOINT
from examples import hybrid_demo
from examples.support.promises import Broken, require
from examples.support.report import for_standard_output
from scripts.pipes import run_program
from sltt_core.base.errors import InvalidInput, NotFound, SlttError
from sltt_core.model.chain import GENESIS, check_links
from sltt_core.model.changes import NewChange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from aws_backend.storage import DynamoDBStorageService
    from examples.support.report import Report
    from sltt_core.model.changes import Change
    from sltt_core.model.fields import Operation

EDITS: tuple[tuple[str, str, Operation, dict[str, object]], ...] = (
    ("passage", "ruth-1", "create", {"title": "Famine in Bethlehem"}),
    ("passage", "ruth-2", "create", {"title": "Gleaning"}),
    ("video", "take-1", "create", {"passage": "ruth-1", "seconds": 41.5}),
    ("passage", "ruth-1", "update", {"title": "From Bethlehem to Moab and back"}),
    ("video", "take-1", "delete", {}),
)
"""The changes of the first team: entity type, entity id, operation, data."""


def demonstrate(storage: DynamoDBStorageService, run: str, report: Report) -> str:
    """Run all steps on an open storage, and return the project that has the changes.

    `run` distinguishes this run's projects from those of other runs. Raises `Broken` and the errors of the storage.
    """
    ruth, jonah = f"ruth-{run}", f"jonah-{run}"
    report.heading(1, "Two teams share a table")
    changes = _append(storage, ruth, jonah, report)
    report.heading(2, "Pages by cursor")
    _page(storage, ruth, changes, report)
    report.heading(3, "A single change")
    _single(storage, ruth, changes, report)
    report.heading(4, "What is new since a cursor")
    changes = _since(storage, ruth, changes, report)
    report.heading(5, "Statistics, without reading the log")
    _statistics(storage, ruth, changes, report)
    report.heading(6, "What is not outdated")
    _not_outdated(storage, ruth, changes, report)
    return ruth


def _append(storage: DynamoDBStorageService, ruth: str, jonah: str, report: Report) -> list[Change]:
    """Append to two projects and check that they are separate."""
    batch = [
        NewChange(
            project_id=ruth, entity_type=kind, entity_id=entity, operation=operation, data=data, change_by="Noémie"
        )
        for kind, entity, operation, data in EDITS
    ]
    key = f"demo-{ruth}"
    appended = storage.create_changes(batch, idempotency_key=key)
    require(appended.seqs == tuple(range(1, len(EDITS) + 1)), "a project's numbers begin at 1 and have no gap")
    report.row("append", f"{len(EDITS)} changes to {ruth} in one transaction: {_numbers(appended.seqs)}")
    again = storage.create_changes(batch, idempotency_key=key)
    require(again.replayed and again.seqs == appended.seqs, "the same key gets the first response again")
    report.row("again", f"under the same key: {_numbers(again.seqs)}, and nothing is written")
    other = NewChange(project_id=jonah, entity_type="passage", entity_id="jonah-1", data={"title": "To Tarshish"})
    require(storage.create_change(other).seq == 1, "each project has numbers of its own")
    report.row("append", f"1 change to {jonah}: #1")

    stored = list(storage.get_changes_since(0, project_id=ruth))
    require(len(stored) == len(EDITS), "one project's changes do not show in another")
    require([change.entity_id for change in stored] == [edit[1] for edit in EDITS], "changes keep their order")
    require(storage.get_head(project_id=jonah).seq == 1, "a project does not grow with another")
    for project in (ruth, jonah):
        listed = storage.get_all_projects(project[:-1]).projects  # the projects after this prefix of its name
        require(project in listed, "the list of projects has every project that was written to")
    report.proof(f"{ruth} holds {len(stored)} changes and {jonah} holds 1: neither shows in the other")
    try:
        storage.create_change(other.replace(project_id=f"{jonah}#0"))
    except InvalidInput as error:
        report.refusal(f"the project id {jonah}#0: {error.message.partition(':')[0]}")
    else:
        raise Broken("a project id that could reach other items is refused")
    return stored


def _page(storage: DynamoDBStorageService, project: str, changes: Sequence[Change], report: Report) -> None:
    """Read the log two changes at a time, and send the last hash of each page with the next request."""
    cursor: int | None = 0
    chain: str | None = GENESIS
    read: list[Change] = []
    pages = 0
    while cursor is not None:
        page = storage.get_changes_with_cursor(cursor, 2, project_id=project, chain=chain)
        more = "the end" if page.cursor is None else f"next cursor {page.cursor}"
        report.row(f"cursor {cursor}", f"{_numbers([change.seq for change in page.changes])}, {more}")
        read += page.changes
        cursor, chain, pages = page.cursor, page.chain, pages + 1
    require(read == list(changes), "pages hold every change once, in order")
    link = check_links(GENESIS, read)
    require(link == chain, "the hash of the last page is the hash of the last change")
    report.proof(f"{pages} pages, {len(read)} changes, no gap, no duplicate; every hash of the chain is right")


def _single(storage: DynamoDBStorageService, project: str, changes: Sequence[Change], report: Report) -> None:
    """Read an existing change and a missing one."""
    change = storage.get_change(3, project_id=project)
    require(change == changes[2], "a change is the same alone and on a page")
    report.row("change 3", f"{change.operation} {change.entity_type} {change.entity_id}: {change.data_json}")
    try:
        storage.get_change(99, project_id=project)
    except NotFound as error:
        report.refusal(error.message)
    else:
        raise Broken("a change that was not written is not found")


def _since(storage: DynamoDBStorageService, project: str, changes: Sequence[Change], report: Report) -> list[Change]:
    """Follow the log as a device does, while another device writes; return the whole log."""
    cursor = changes[-1].seq
    require(list(storage.get_changes_since(cursor, project_id=project)) == [], "nothing comes after the last change")
    report.row("device A", f"knows all up to #{cursor}")
    update = NewChange(
        project_id=project, entity_type="passage", entity_id="ruth-2", operation="update", data={"title": "The gleaner"}
    )
    written = storage.create_change(update.replace(change_by="Wanjirũ"))
    report.row("device B", f"writes #{written.seq}")
    new = list(storage.get_changes_since(cursor, project_id=project))
    require(new == [written], "a reader gets exactly the new changes")
    report.proof(f"device A reads again and gets #{new[0].seq} by {new[0].change_by}, nothing else")
    return [*changes, *new]


def _statistics(storage: DynamoDBStorageService, project: str, changes: Sequence[Change], report: Report) -> None:
    """Compare the counts with the log."""
    stats = storage.get_change_stats(project_id=project)
    types = storage.get_entity_type_stats(project_id=project)
    counted = [sum(change.operation == name for change in changes) for name in ("create", "update", "delete")]
    require(stats.total == len(changes), "the total is the number of changes")
    require([stats.creates, stats.updates, stats.deletes] == counted, "the counts by operation are exact")
    require(sum(types.values()) == len(changes), "the counts by entity type are exact")
    report.row("operations", f"{stats.creates} creates, {stats.updates} updates, {stats.deletes} deletes")
    report.row("types", ", ".join(f"{count} of {name}" for name, count in types.items()))
    report.proof(f"both sum up to {stats.total}, the changes of the log; each reads one item")


def _not_outdated(storage: DynamoDBStorageService, project: str, changes: Sequence[Change], report: Report) -> None:
    """Mark each change that a later change of its entity replaces."""
    latest = {(change.entity_type, change.entity_id): change.seq for change in changes}
    for change in changes:
        later = latest[change.entity_type, change.entity_id]
        if later > change.seq:
            marked = storage.mark_as_outdated(change.seq, later, project_id=project)
            require(marked.outdated_by == later, "a change names the one that replaces it")
            report.row(f"change {change.seq}", f"is outdated by {later}")
    current = [change.seq for change in storage.get_changes_not_outdated(project_id=project).changes]
    require(current == sorted(latest.values()), "only the latest change of each entity is current")
    log = list(storage.get_changes_since(0, project_id=project))
    require(len(log) == len(changes), "nothing is removed from the log")
    check_links(GENESIS, log)
    report.proof(f"current: {_numbers(current)}; the log still holds all {len(log)}, and its hash chain is right")


def _numbers(seqs: Sequence[int]) -> str:
    return ", ".join(f"#{seq}" for seq in seqs)


def _serve(storage: DynamoDBStorageService, port: int, project: str, report: Report) -> None:
    """Serve the storage until Ctrl-C."""
    from aws_backend.rest_api_server import AwsRestApiServer

    server = AwsRestApiServer(storage=storage, server_name="sltt-demo")
    server.bind(port, "127.0.0.1")

    def ready(url: str) -> None:
        report.heading(7, f"A server to try, on {url} (Ctrl-C stops)")
        report.row("", f"curl {url}/health")
        report.row("", f"curl {url}/api/projects")
        report.row("", f"curl '{url}/api/projects/{project}/changes?cursor=2&limit=2'")
        report.row("", f"curl {url}/api/projects/{project}/stats")

    server.serve_forever(ready)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.dynamodb_demo",
        description="Show the change log on a local DynamoDB, check each promise, then serve it. "
        "`make dynamodb` starts a local DynamoDB.",
        epilog="Exit code: 0 when every promise held, 1 when one did not or the endpoint did not respond, 130 after "
        "Ctrl-C in the demonstration. Example: python -m examples.dynamodb_demo --no-server --endpoint http://localhost:8001",
    )
    parser.add_argument(
        "--endpoint",
        default=os.environ.get("DYNAMODB_ENDPOINT") or LOCAL_ENDPOINT,
        help="default: DYNAMODB_ENDPOINT, else %(default)s",
    )
    parser.add_argument(
        "--table",
        default=os.environ.get("DYNAMODB_TABLE") or "sltt-demo",
        help="created when missing; default: DYNAMODB_TABLE, else sltt-demo",
    )
    parser.add_argument("--port", type=int, default=0, help="port of the server; 0: a free one (default)")
    parser.add_argument("--no-server", action="store_true", help="end after the demonstration")
    parser.add_argument("--hybrid", action="store_true", help="show devices that work offline instead")
    return parser.parse_args()


def _end(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt  # so that SIGTERM closes the storage as Ctrl-C does


def main() -> int:
    """Run the command line; return the exit code."""
    options = _arguments()
    signal.signal(signal.SIGTERM, _end)
    report = for_standard_output()
    if options.hybrid:
        return hybrid_demo.run(report, f"dynamodb:{options.table}", {"DYNAMODB_ENDPOINT": options.endpoint})
    try:
        storage = open_dynamodb(options.table, None, {"DYNAMODB_ENDPOINT": options.endpoint})
        with storage:
            report.title("sltt", f"the change log in DynamoDB, table {options.table} {storage.place}")
            project = demonstrate(storage, token_hex(4), report)
            print()
            report.proof("every promise held")
            if not options.no_server:
                _serve(storage, options.port, project, report)
                print("stopped")
    except (Broken, SlttError) as error:
        print(f"demo: {_explained(error)}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as missing:
        print(
            f"demo: {missing.name} is not installed; the server needs it: pip install 'sltt-aws-backend[server]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    return 0


def _explained(error: Exception) -> str:
    if isinstance(error, SlttError):
        return f"{error.message}\nHint: {error.hint}" if error.hint else error.message
    return f"this promise does not hold: {error}"


if __name__ == "__main__":
    run_program(main)
