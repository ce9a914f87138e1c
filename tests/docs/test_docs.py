"""The documents say what is so: routes, options, errors and limits; and every example runs, as it stands.

A document's examples run in its order, in an empty folder, against a real server of its own if it names port 8080. A
```json or ```text block directly after an example is its output, compared but for times and links.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click
import pytest

from examples.server import Server
from scripts.engines import DYNOXIDE
from sltt_core import __version__, batches, errors, fields, json_reader, pages
from sltt_core.api import http, routes
from sltt_core.api.app import Api
from sltt_core.api.routes import ROUTES, Route
from sltt_core.chain import GENESIS, link
from sltt_core.changes import NewChange
from sltt_core.cli import main
from sltt_core.local_storage import LocalStorageService
from sltt_core.server import asgi, protocol, rest_api_server
from tests.conftest import engine_url
from tests.docs.documents import (
    ROOT,
    anchors,
    blocks,
    differences,
    documents,
    output_pattern,
    parse_json,
    prose,
    read,
    rows,
    section,
)
from tests.simulation.explicit import __main__ as explicit

NOT_RUN = {
    r"make demo$": "runs for a test of its own: test_the_readme_shows_what_the_demo_says",
    r"make test$": "is what runs this test; its output is of the day it was written down",
    r"make bench$": "takes minutes; tests/bench runs each bench in small",
    r"make package$": "tests/aws_backend/test_package.py builds the zip",
    r"make install$": "has run, or this test could not",
    r"\.venv/bin/python -m tests\.": "needs the repository: test_the_model_says_what_its_page_shows runs it",
    r"\.venv/bin/sltt serve ": "runs already, on a free port instead of 8080, when the document's examples begin",
}
"""Lines of ```sh blocks that are not run, and why."""

ADDRESS = "http://127.0.0.1:8080"
"""The server's address in the documents."""

ENGINE = "http://127.0.0.1:8000"
"""A local DynamoDB's address in the documents."""

VARIABLE = re.compile("[A-Z]+(_[A-Z0-9]+)+")

LIMITS = {
    "Changes in one atomic write": batches.CHUNK_CHANGES,
    "Bytes in one atomic write": batches.CHUNK_BYTES,
    "Bytes of one change, as stored": fields.MAX_ITEM_BYTES,
    "Bytes of a request body": http.MAX_BODY_BYTES,
    "Changes or projects on a page": pages.MAX_LIMIT,
    "Bytes of a page's changes": pages.PAGE_BYTES,
    "Changes examined for a narrowed page": pages.MAX_EXAMINED,
    "Seconds that a request may wait for a change": routes.MAX_WAIT_SECONDS,
    "Times that a repeatable parameter may be given": routes.MAX_REPEATED,
    "Bytes of a request's first line and headers": protocol.MAX_HEAD_BYTES,
    "Seconds for them to come in": protocol.HEAD_SECONDS,
    "Seconds for a body to come in": asgi.BODY_SECONDS,
    "Seconds for each next piece of a body": asgi.IDLE_SECONDS,
    "Seconds for requests in flight when the server stops": rest_api_server.SHUTDOWN_SECONDS,
    "Different entity types in a project": fields.MAX_ENTITY_TYPES,
    "Depth of nested objects and arrays in `data`": json_reader.MAX_DEPTH,
    "Days that an idempotency key is remembered": batches.KEY_DAYS,
}
"""The rows of the documents' tables of limits."""


# Examples


@pytest.mark.parametrize("document", documents())
def test_the_examples_do_what_the_document_shows(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "document"}
    output: str | None = None
    with address_of_a_server(document) as address:
        for block in blocks(document):
            place = f"{document}, line {block.line}"
            code = block.text.replace(ADDRESS, address)
            if ENGINE in code:
                code = code.replace(ENGINE, engine_url(DYNOXIDE))
            if block.shows and block.language in ("json", "text"):
                if output is not None:
                    compare(place, block.language, block.text, output.replace(address, ADDRESS))
            elif block.language == "python":
                output = run_python(code, f"{document}:{block.line}", block.line, namespace)
            elif block.language == "sh":
                output = run_shell(code, place)
            elif block.language == "js":
                output = run_program(["node", "-e", code], place)
            else:
                assert block.language in ("json", "text"), f"{place}: a block must say what it is, and {LANGUAGES}"


LANGUAGES = "may be sh, python, js, json or text"


@contextmanager
def address_of_a_server(document: str) -> Iterator[str]:
    """A server on `team.db` in the current folder, its lines in `requests.log`, if the document's examples need one."""
    if not any(ADDRESS in block.text for block in blocks(document) if block.language in ("sh", "python")):
        yield ADDRESS
        return
    folder = Path("server")
    folder.mkdir()
    Path("requests.log").symlink_to(folder / "server.err")
    with Server(folder, "sqlite:team.db") as server:
        yield server.url


def run_python(code: str, name: str, line: int, namespace: dict[str, object]) -> str:
    """Run Python code in the namespace of its document, and return what it printed."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile("\n" * line + code, name, "exec"), namespace)
    return printed.getvalue()


def run_shell(script: str, place: str) -> str | None:
    """Run a block's commands and return what they printed, or nothing when they are among those not run."""
    lines = [line for line in script.splitlines() if line.strip() and not line.startswith("#")]
    left_out = [line for line in lines if any(re.match(pattern, line) for pattern in NOT_RUN)]
    if left_out:
        assert left_out == lines, f"{place}: give those that are run a block of their own"
        return None
    for program in ("curl", "sqlite3"):
        if program in script and shutil.which(program) is None:
            pytest.skip(f"{place} needs {program}")
    return run_program(["bash", "-euo", "pipefail", "-c", script], place)


def run_program(command: list[str], place: str) -> str:
    """Run a program in the current folder and return what it printed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{place} needs {command[0]}")
    run = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=30, check=False
    )
    assert run.returncode == 0, f"{place}: {run.stdout}{run.stderr}"
    return run.stdout


def compare(place: str, language: str, shown: str, real: str) -> None:
    """Fail where the output is not as shown."""
    if language == "json":
        assert not differences(parse_json(shown), parse_json(real)), f"{place}; the answer was {real}"
    else:
        assert output_pattern(shown).fullmatch(real.rstrip() + "\n"), f"{place}: the output was\n{real}"


@pytest.mark.parametrize("document", documents())
def test_every_command_that_is_not_run_is_a_known_one(document: str) -> None:
    for block in blocks(document):
        if block.language == "sh":
            for address in re.findall(r"https?://[^/'\s]+", block.text):
                assert address == ADDRESS, f"{document}, line {block.line}: {address} is not the server"
            for line in block.text.splitlines():
                if re.match(r"\S*sltt serve\b", line):
                    words = line.split(" #")[0].split()[2:]
                    main.commands["serve"].make_context("serve", words)


def test_the_readme_shows_what_the_demo_says() -> None:
    shown = output_after("README.md", "make demo\n").removeprefix(".venv/bin/python examples/demo.py\n")  # make's echo
    run = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    pattern = output_pattern(shown, any_numbers=True)
    assert pattern.fullmatch(run.stdout), f"README.md shows another demo than\n{run.stdout}"


def test_the_model_says_what_its_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    command = ".venv/bin/python -m tests.simulation.explicit"
    found = [block for block in blocks("docs/model.md") if block.language == "sh"]
    assert found
    for block in found:
        assert block.text.startswith(command)
        assert explicit.main(block.text.removeprefix(command).split()) == 0
        compare(
            f"docs/model.md, line {block.line}",
            "text",
            output_after("docs/model.md", block.text),
            capsys.readouterr().out,
        )


def test_the_answer_to_a_batch_that_stopped_midway_is_as_shown(tmp_path: Path) -> None:
    class Interrupted(LocalStorageService):
        def _append(self, chunk: batches.Chunk) -> batches.StoredChunk:
            if chunk.project_id == "mark":
                raise errors.StorageBusy("team.db: another process is writing and did not finish in time")
            return super()._append(chunk)

    change = {"entityType": "passage", "entityId": "1", "data": {}}
    body = json.dumps([{**change, "projectId": "ruth"}, {**change, "projectId": "mark"}]).encode()
    with Interrupted(tmp_path / "team.db") as storage:
        answer = Api(storage).handle(
            http.Request("POST", "/api/changes", "", {"content-type": "application/json"}, body)
        )
    (shown,) = (block for block in blocks("docs/api.md") if block.language == "json" and not block.shows)
    assert answer.status == 503
    assert ("retry-after", "1") in answer.headers
    compare(f"docs/api.md, line {shown.line}", "json", shown.text, answer.body.decode())


def output_after(document: str, script: str) -> str:
    """What a document shows as the output of a script."""
    found = blocks(document)
    (place,) = (at for at, block in enumerate(found) if block.text == script)
    assert found[place + 1].shows
    return found[place + 1].text


# Routes, errors, options, settings, limits


def title(route: Route) -> str:
    return f"`{route.method} {route.path}`"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_is_documented_with_its_parameters(route: Route) -> None:
    names = [f"`{parameter.name}`" for parameter in route.parameters]
    in_readme = {row[0]: row[1] for row in rows(section("README.md", "## The REST API"))}
    assert title(route) in in_readme
    assert set(names) <= set(re.findall(r"`\w+`", in_readme[title(route)]))
    documented = {tuple(row[:2]) for row in rows(section("docs/api.md", f"### {title(route)}")) if row[-1]}
    for parameter in route.parameters:
        assert (f"`{parameter.name}`", parameter.place) in documented


def test_no_document_describes_a_route_that_is_not_there() -> None:
    known = {title(route) for route in ROUTES}
    assert {row[0] for row in rows(section("README.md", "## The REST API"))[1:]} == known
    assert set(re.findall(r"^### (`[A-Z]+ .*`)$", read("docs/api.md"), re.MULTILINE)) == known


def error_classes(base: type[errors.SlttError] = errors.SlttError) -> Iterator[type[errors.SlttError]]:
    yield base
    for below in base.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from error_classes(below)


def test_every_error_is_documented_with_its_status() -> None:
    table = [row[:2] for row in rows(section("docs/api.md", "## Errors")) if row[0].isdigit()]
    assert sorted(table) == sorted([str(error.status), f"`{error.kind}`"] for error in error_classes())


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), [*commands(main, "sltt")], ids=str)
def test_a_command_is_documented_with_its_options(path: str, command: click.Command) -> None:
    text = section("README.md", "## The command")
    described = {row[0]: row for row in rows(text)}
    if path != "sltt":
        assert f"`{path}`" in text
    with click.Context(command) as context:
        for option in command.get_params(context):
            for name in (*option.opts, *option.secondary_opts):
                assert f"`{name}`" in text or f"`sltt {name}`" in text, f"{path} {name} is not in the README"
                if isinstance(option.default, str | int) and not isinstance(option.default, bool):
                    assert described[f"`{name}`"][1] == f"`{option.default}`"


def test_no_document_describes_an_option_that_is_not_there() -> None:
    known = {
        name
        for path, command in commands(main, "sltt")
        for option in command.get_params(click.Context(command))
        for name in option.opts
    }
    first_cells = " ".join(row[0] for row in rows(section("README.md", "## The command")))
    named = set(re.findall(r"`(-[\w-]+)`", first_cells))
    assert named
    assert named <= known


def settings_in(source: str) -> set[str]:
    """The environment variables that some Python code reads, or has click read."""
    found = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        name: ast.expr | None = None
        if isinstance(node, ast.Subscript) and ends_in(node.value, "environ", "environb"):
            name = node.slice
        elif isinstance(node, ast.Compare) and any(ends_in(other, "environ") for other in node.comparators):
            name = node.left
        elif isinstance(node, ast.Call):
            function = node.func
            of_environ = isinstance(function, ast.Attribute) and ends_in(function.value, "environ", "environb")
            if node.args and (of_environ or ends_in(function, "getenv", "getenvb")):
                name = node.args[0]
            name = next((word.value for word in node.keywords if word.arg == "envvar"), name)
            assert all(word.arg != "auto_envvar_prefix" for word in node.keywords), "then read click's names here, too"
        if isinstance(name, ast.Name):  # one of several: then whatever in the module looks like a variable is read
            constants = (other.value for other in ast.walk(tree) if isinstance(other, ast.Constant))
            found |= {text for text in constants if isinstance(text, str) and VARIABLE.fullmatch(text)}
        elif name is not None:
            assert isinstance(name, ast.Constant), f"{ast.unparse(node)}: which variable is that?"
            found.add(str(name.value))
    return found


def ends_in(node: ast.expr, *names: str) -> bool:
    return (node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else "") in names


def test_the_search_for_settings_finds_them() -> None:
    source = """
import os
from os import environ, getenv
os.environ["A"], os.environ.get("B", ""), environ["C"], getenv("D"), os.getenv("E"), "F" in os.environ
click.option("--port", envvar="G")
"""
    assert settings_in(source) == set("ABCDEFG")
    several = "NAMES = ('AWS_REGION', 'text')\nfor name in NAMES:\n    os.environ.get(name)"
    assert settings_in(several) == {"AWS_REGION"}


def test_every_setting_is_documented() -> None:
    text = "".join(map(read, documents()))
    for path in sorted((ROOT / "src").rglob("*.py")):
        for name in settings_in(path.read_text(encoding="utf-8")):
            assert f"`{name}`" in text, f"{path.name} reads {name}, which no document mentions"


def test_the_limits_are_as_documented() -> None:
    expected = {name: f"{value:,.0f}" for name, value in LIMITS.items()}
    places = {"README.md": "## Limits", "docs/changes.md": "## Sizes", "docs/api.md": "## Limits"}
    named = set()
    for document, heading in places.items():
        for name, value in rows(section(document, heading))[1:]:
            assert expected[name] == value, f"{document}: {name}"
            named.add(name)
    assert named == set(LIMITS)


def test_times_are_kept_as_documented() -> None:
    table = rows(section("docs/changes.md", "## Times"))[1:]
    assert table
    for sent, kept in table:
        change = NewChange(entity_type="a", entity_id="1", data={}, timestamp=sent.strip("`"))
        assert f"`{change.timestamp}`" == kept


def test_every_field_of_a_change_is_documented() -> None:
    first = [row[0] for row in rows(read("docs/changes.md"))]
    assert {f"`{name}`" for name in fields.CHECKS} <= set(first)


# The worked example of the hash chain


def test_the_worked_example_of_the_chain_is_right(tmp_path: Path) -> None:
    previous = GENESIS
    for number in (1, 2):
        text = section("docs/chain.md", f"### Change {number}")
        hashed, parts = b"", []
        table = {row[0]: row[1:] for row in rows(text)[1:]}
        names = list(table)[: list(table).index("changeBy") + 1]
        for name in names:
            length, shown = (cell.strip("`") for cell in table[name])
            octets = b"" if length == "ffffffff" else shown.encode()
            assert length == "ffffffff" or int(length, 16) == len(octets), name
            hashed += bytes.fromhex(length) + octets
            parts.append(None if length == "ffffffff" else shown)
        assert parts[0] == previous
        (dump,) = (block for block in blocks("docs/chain.md") if block.text in text and block.language == "text")
        assert bytes.fromhex(dump.text) == hashed
        assert f"All {len(hashed)} bytes" in text
        digest = hashlib.sha256(hashed).digest()
        expected = urlsafe_b64encode(digest[:16]).decode().rstrip("=")
        assert [table[name][0].strip("`") for name in ("SHA-256", "its first 16 bytes", "**link**")] == [
            digest.hex(),
            digest[:16].hex(),
            expected,
        ]
        values: list[Any] = parts
        values[2] = int(values[2])
        assert link(*values) == expected
        assert stored_link(tmp_path / "example.db", values) == expected
        previous = expected


def stored_link(path: Path, values: list[Any]) -> str:
    """Append the change of the example at its time, and return the link that the log gave it."""
    from datetime import datetime

    _, project, seq, entity_type, entity_id, operation, timestamp, cloud_at, data, cid, change_by = values
    now = datetime.fromisoformat(cloud_at)
    nanoseconds = int(now.timestamp()) * 1_000_000_000 + now.microsecond * 1000
    with LocalStorageService(path, project, clock=lambda: nanoseconds) as log:
        change = log.create_change(
            NewChange(
                entity_type=entity_type,
                entity_id=entity_id,
                operation=operation,
                timestamp=timestamp,
                data=data,
                cid=cid,
                change_by=change_by,
            )
        )
    assert (change.seq, change.cloud_at) == (seq, cloud_at)
    return change.chain


# Links, targets, pages


@pytest.mark.parametrize("document", documents())
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if target.startswith("https://"):
            continue
        path, _, fragment = target.partition("#")
        found = (ROOT / document).parent.joinpath(path).resolve() if path else ROOT / document
        assert found.exists(), f"{document}: {target} leads nowhere"
        if fragment:
            assert fragment in anchors(found.relative_to(ROOT).as_posix()), f"{document}: no heading for {target}"


def test_every_document_is_reached_from_the_readme() -> None:
    reached: set[str] = set()
    waiting = ["README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached or not document.endswith(".md"):
            continue
        reached.add(document)
        for target in re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", prose(document)):
            if "://" not in target:
                waiting.append((ROOT / document).parent.joinpath(target).resolve().relative_to(ROOT).as_posix())
    assert set(documents()) - {"CHANGELOG.md"} <= reached


def test_the_index_of_decisions_lists_every_decision() -> None:
    there = [Path(document).name for document in documents() if document.startswith("docs/decisions/0")]
    linked = re.findall(r"^\| \[\d{4}\]\((.+)\) \|", read("docs/decisions/README.md"), re.MULTILINE)
    assert linked == there


def test_the_targets_of_the_makefile_are_those_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    readme = read("README.md")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", readme, re.MULTILINE))
    assert named <= targets
    assert described <= named
    for variable in re.findall(r"^([A-Z]+) \?=", makefile, re.MULTILINE):
        assert f"`{variable}=" in readme


def test_the_files_in_the_readmes_layout_are_there() -> None:
    package = ROOT / "src" / "sltt_core"
    named = set(re.findall(r"\b\w+\.py\b", section("README.md", "## Contributing")))
    assert named
    assert named <= {path.name for path in package.glob("*.py")}


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {__version__} - " in read("CHANGELOG.md")
