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
import shlex
import shutil
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from uuid import uuid4

import botocore.session  # type: ignore[import-untyped]
import botocore.validate  # type: ignore[import-untyped]
import click
import pytest

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.log import items
from aws_backend.log.schema import definition
from aws_backend.storage import DynamoDBStorageService
from examples.support.server import Server
from scripts.engines import DYNOXIDE
from sltt_core import __version__
from sltt_core.api import http, routes
from sltt_core.api.app import Api
from sltt_core.api.routes import ROUTES, Route
from sltt_core.base import errors, json_reader
from sltt_core.base.runtime import Runtime
from sltt_core.cli.main import main
from sltt_core.log import batches, pages
from sltt_core.model import fields
from sltt_core.model.chain import GENESIS, link
from sltt_core.model.changes import Change, NewChange
from sltt_core.server import asgi, bad_credentials, framing, load, protocol, rest_api_server
from sltt_core.sqlite.storage import LocalStorageService
from tests.conftest import engine_url
from tests.design_model import __main__ as design_model
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

NOT_RUN = {
    r"make demo$": "runs for a test of its own: test_the_readme_shows_the_output_of_the_demo",
    r"make test$": "is what runs this test; its output is of the day it was written down",
    r"make simulate": "runs in small in tests/simulation/test_simulation.py",
    r"make bench$": "takes minutes; tests/bench runs each bench in small",
    r"make mutate": "takes minutes; tests/test_mutation.py checks its configuration",
    r"make package$": "tests/aws_backend/function/test_package.py builds the zip",
    r"make install$": "has run, or this test could not",
    r"python -m pip install ": "needs a network and a clean environment",
    r"docker ": "needs Docker",
    r"make dynamodb$": "runs until Ctrl-C; the tests have engines of their own",
    r"USE_LOCAL_DYNAMODB=true \.venv/bin/sltt serve ": "tests/aws_backend/test_serve.py runs it",
    r"\.venv/bin/python -m examples\.dynamodb_demo": "test_the_readme_shows_the_output_of_the_demo_on_dynamodb runs it",
    r"\.venv/bin/python -m tests\.": "needs the repository: test_the_page_of_the_model_shows_its_output runs it",
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
    "Changes examined for a filtered page": pages.MAX_EXAMINED,
    "Seconds that a request may wait for a change": http.MAX_WAIT_SECONDS,
    "Times that a repeatable parameter may be given": routes.MAX_REPEATED,
    "Parameters in the query of a request": http.MAX_PARAMETERS,
    "Bytes of a request's first line and headers": framing.MAX_HEADER_BYTES,
    "Seconds for them to arrive": protocol.HEADER_SECONDS,
    "Seconds for a body to arrive": asgi.BODY_SECONDS,
    "Seconds between two pieces of a body": asgi.IDLE_SECONDS,
    "Seconds for a response to be read": int(asgi.RESPONSE_SECONDS),
    "Seconds for a client to read nothing of a response": protocol.UNREAD_SECONDS,
    "Seconds that a connection is kept for a further request": asgi.KEEP_ALIVE_SECONDS,
    "Connections at the same time": load.MAX_CONNECTIONS,
    "Bytes of a response that are buffered for a connection": load.SLICE_BYTES,
    "Bytes of all responses that clients have not read": load.MAX_UNSENT_BYTES,
    "Seconds that a request may wait for a thread, then `storage-busy`": asgi.QUEUE_SECONDS,
    "Seconds until the response to a request that waited for a thread for more than one second": asgi.BUSY_SECONDS,
    "Seconds that `/ready` waits for the storage, then `storage-unavailable`": asgi.READY_SECONDS,
    "Seconds that any other request waits for the storage, then `storage-unavailable`": asgi.LONGEST_SECONDS,
    "Seconds for requests in flight when the server stops": rest_api_server.SHUTDOWN_SECONDS,
    "Bad credentials of one address in a minute without a delay": bad_credentials.FREE,
    "Seconds of the longest delay": bad_credentials.MAX_DELAY_SECONDS,
    "Addresses that are remembered; of IPv6, networks of 64 bits": bad_credentials.MAX_ADDRESSES,
    "Different entity types in a project": fields.MAX_ENTITY_TYPES,
    "Depth of nested objects and arrays in `data`": json_reader.MAX_DEPTH,
    "Days that an idempotency key is remembered": batches.KEY_DAYS,
}
"""The rows of the tables of limits in the documents."""


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
    if script.startswith("aws "):  # needs an account; test_the_commands_for_aws_create_a_valid_table looks at them
        return None
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
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # `sltt` is there
    run = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PATH": path},
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, f"{place}: {run.stdout}{run.stderr}"
    return run.stdout


def compare(place: str, language: str, shown: str, real: str) -> None:
    """Fail if the output is not as shown."""
    if language == "json":
        assert not differences(parse_json(shown), parse_json(real)), f"{place}; the answer was {real}"
    else:
        assert output_pattern(shown).fullmatch(real.rstrip() + "\n"), f"{place}: the output was\n{real}"


@pytest.mark.parametrize("document", documents())
def test_every_command_that_is_not_run_is_listed(document: str) -> None:
    for block in blocks(document):
        if block.language == "sh":
            for address in re.findall(r"https?://[^/'\s]+", block.text):
                assert address == ADDRESS, f"{document}, line {block.line}: {address} is not the server"
            for line in block.text.splitlines():
                if re.match(r"\S*sltt serve\b", line):
                    words = line.split(" #")[0].split()[2:]
                    main.commands["serve"].make_context("serve", words)


def test_the_readme_shows_the_output_of_the_demo() -> None:
    shown = output_after("README.md", "make demo\n").removeprefix(
        ".venv/bin/python examples/hybrid_demo.py\n"
    )  # make's echo
    run = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "hybrid_demo.py")],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    pattern = output_pattern(shown, any_numbers=True)
    assert pattern.fullmatch(run.stdout), f"README.md shows another demo than\n{run.stdout}"


def test_the_readme_shows_the_output_of_the_demo_on_dynamodb() -> None:
    command = ".venv/bin/python -m examples.dynamodb_demo --no-server\n"
    arguments = [*command.split()[1:], "--endpoint", engine_url(DYNOXIDE), "--table", f"demo-{uuid4().hex}"]
    run = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    real = run.stdout.replace(arguments[-1], "sltt-demo").replace(engine_url(DYNOXIDE), "http://localhost:8000")
    name = re.compile(r"(ruth|jonah)-[0-9a-f]{8}")  # of this run
    compare(
        "README.md, On DynamoDB", "text", name.sub(r"\1", output_after("README.md", command)), name.sub(r"\1", real)
    )


def test_the_page_of_the_model_shows_its_output(capsys: pytest.CaptureFixture[str]) -> None:
    command = ".venv/bin/python -m tests.design_model"
    found = [block for block in blocks("docs/model.md") if block.language == "sh"]
    assert found
    for block in found:
        assert block.text.startswith(command)
        assert design_model.main(block.text.removeprefix(command).split()) == 0
        compare(
            f"docs/model.md, line {block.line}",
            "text",
            output_after("docs/model.md", block.text),
            capsys.readouterr().out,
        )


def test_the_response_to_a_partial_append_is_as_documented(tmp_path: Path) -> None:
    class Interrupted(LocalStorageService):
        def _append(self, chunk: batches.Chunk) -> batches.StoredChunk:
            if chunk.project_id == "mark":
                raise errors.StorageBusy("team.db: another process is writing and did not finish in time")
            return super()._append(chunk)

    change = {"entityType": "passage", "entityId": "1", "data": {}}
    body = json.dumps([{**change, "projectId": "ruth"}, {**change, "projectId": "mark"}]).encode()
    with Interrupted(tmp_path / "team.db") as storage:
        response = Api(storage).handle(
            http.Request("POST", "/api/changes", "", {"content-type": "application/json"}, body)
        )
    (shown,) = (block for block in blocks("docs/api.md") if block.language == "json" and not block.shows)
    assert response.status == 503
    assert ("retry-after", "1") in response.headers
    compare(f"docs/api.md, line {shown.line}", "json", shown.text, response.content.decode())


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


def test_every_documented_route_exists() -> None:
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
            for name in (*option.opts, *option.secondary_opts) if isinstance(option, click.Option) else ():
                assert f"`{name}`" in text or f"`sltt {name}`" in text, f"{path} {name} is not in the README"
                if isinstance(option.default, str | int) and not isinstance(option.default, bool):
                    assert described[f"`{name}`"][1] == f"`{option.default}`"


def test_every_documented_option_exists() -> None:
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
    places |= {"docs/access.md": "## Bad credentials"}
    named = set()
    for document, heading in places.items():
        for name, value in rows(section(document, heading))[1:]:
            assert expected[name] == value, f"{document}: {name}"
            named.add(name)
    assert named == set(LIMITS)


def test_times_are_stored_as_documented() -> None:
    table = rows(section("docs/changes.md", "## Times"))[1:]
    assert table
    for sent, kept in table:
        change = NewChange(entity_type="a", entity_id="1", data={}, timestamp=sent.strip("`"))
        assert f"`{change.timestamp}`" == kept


def test_every_field_of_a_change_is_documented() -> None:
    first = [row[0] for row in rows(read("docs/changes.md"))]
    assert {f"`{name}`" for name in fields.CHECKS} <= set(first)


# The table on AWS


def aws_commands(document: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The operation and the request of each `aws dynamodb` command in a document, with AWS's shorthand written out."""
    for block in blocks(document):
        if block.language == "sh" and block.text.startswith("aws "):
            for command in block.text.split("aws dynamodb ")[1:]:
                words = shlex.split(command.replace("\\\n", " "))
                if words[0] == "wait":
                    continue
                request: dict[str, Any] = {}
                for option, *values in split_before(words[1:], "--"):
                    request[camel(option.removeprefix("--"))] = parameter(values)
                yield camel(words[0]), request


def split_before(words: list[str], mark: str) -> Iterator[list[str]]:
    starts = [at for at, word in enumerate(words) if word.startswith(mark)]
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        yield words[start:end]


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def parameter(values: list[str]) -> Any:
    if values[0][0] in "[{":
        return json.loads(*values)
    if "=" not in values[0]:
        return values[0]
    parts: list[Any] = [dict(pair.split("=") for pair in value.split(",")) for value in values]
    for part in parts:
        part.update({name: text == "true" for name, text in part.items() if text in ("true", "false")})
    return parts[0] if any(type(value) is bool for value in parts[0].values()) else parts


def test_the_commands_for_aws_create_a_valid_table() -> None:
    model = botocore.session.get_session().get_service_model("dynamodb")
    found = list(aws_commands("docs/table.md"))
    assert [operation for operation, _ in found] == [
        "CreateTable",
        "UpdateTimeToLive",
        "UpdateContinuousBackups",
        "UpdateTable",
        "UpdateTimeToLive",
    ]
    for operation, request in found:
        shape = model.operation_model(operation).input_shape
        report = botocore.validate.ParamValidator().validate(request, shape)
        assert not report.has_errors(), f"{operation}: {report.generate_report()}"
    made, extended = found[0][1], found[3][1]
    assert made == definition("team")
    for _, request in (found[1], found[4]):
        assert request["TimeToLiveSpecification"] == {"Enabled": True, "AttributeName": "expires"}
    # The original's table, extended: on an engine, where it has another name.
    name = f"original-{uuid4().hex}"
    original = {key: value for key, value in made.items() if key != "GlobalSecondaryIndexes"}
    original["AttributeDefinitions"] = made["AttributeDefinitions"][:2]
    url = engine_url(DYNOXIDE)
    with closing(DynamoDBClient("us-east-1", lambda: Credentials("any", "thing"), endpoint=url)) as client:
        client.call("CreateTable", {**original, "TableName": name})
        with pytest.raises(errors.NotALog, match="no index"):
            DynamoDBStorageService(name, client=client).initialize()
        client.call("UpdateTable", {**extended, "TableName": name})
        with DynamoDBStorageService(name, client=client) as storage:
            storage.create_change(NewChange(project_id="ruth", entity_type="a", entity_id="1", data={}))
            assert storage.get_all_projects().projects == ("ruth",)
        client.call("DeleteTable", {"TableName": name})


GOVERNED = {"TransactWriteItems": {"PutItem", "UpdateItem"}, "TransactGetItems": {"GetItem"}}
"""The permissions that transactions need (AWS: "Using IAM with DynamoDB transactions"), as this program makes them."""
REPAIRS = {"audit.py", "repair.py", "maintenance.py"}


CALLING = {"call": 0, "pages": 0, "_succeeds": 1}
"""Functions that call an operation, and which of their arguments names it."""


def operations_called(paths: Iterable[Path]) -> set[str]:
    """The permissions for what some modules call; they are named where they are called."""
    found: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = getattr(getattr(node, "func", None), "attr", None) or getattr(
                getattr(node, "func", None), "id", None
            )
            if isinstance(node, ast.Call) and named in CALLING:
                name = node.args[CALLING[named]]
                if isinstance(name, ast.Constant):
                    found |= GOVERNED.get(str(name.value), {str(name.value)})
    return found


def test_the_policy_allows_exactly_the_calls() -> None:
    policy, _ = (json.loads(block.text) for block in blocks("docs/table.md") if block.language == "json")
    table, index = policy["Statement"]
    modules = set((ROOT / "src" / "aws_backend").rglob("*.py"))
    serving = operations_called(path for path in modules if path.name not in REPAIRS)
    assert {f"dynamodb:{name}" for name in serving - {"CreateTable"}} == set(table["Action"])
    assert (index["Action"], index["Resource"]) == ("dynamodb:Query", f"{table['Resource']}/index/projects")
    more = operations_called(path for path in modules if path.name in REPAIRS) - serving
    assert more
    text = section("docs/table.md", "## Permissions").partition("\n### ")[0]
    assert more == set(re.findall(r"`dynamodb:(\w+)`", text))

    def transacted(paths: Iterable[Path]) -> set[str]:
        kinds = ("Put", "Update", "Delete", "ConditionCheck")
        texts = [path.read_text(encoding="utf-8") for path in paths]
        return {kind for kind in kinds if any(f'"{kind}": ' in text for text in texts)}

    assert transacted(path for path in modules if path.name not in REPAIRS) == {"Put", "Update"}
    assert transacted(path for path in modules if path.name in REPAIRS) == {"Put", "Update", "Delete"}


def test_every_attribute_of_the_table_is_documented() -> None:
    change = Change.of(("p", 1, "a", "1", "create", "t", "t", "{}", 2, "c", "me", "x" * 22, "k"))
    request = items.Request(1, 1, 0, "f", "t", "c", 1)
    kinds = {
        "A **change**": items.change_item(change),
        "The **sequence item**": items.log_end_values(items.NO_LOG) | items.registry_values("p"),
        "A **request**": items.request_item({}, request),
    }
    text = section("docs/table.md", "## Items in the table")
    for start, item in kinds.items():
        table = rows(text.partition(start)[2].partition("\n\n")[2].partition("\n\n")[0])[1:]
        documented: dict[str, str] = {}
        for names, types, _ in table:
            several = re.findall(r"`(\w+)`", names)
            kinds_of = [kind.split(" ")[0] for kind in types.split(", ")]
            documented |= dict(zip(several, kinds_of if len(kinds_of) > 1 else kinds_of * len(several), strict=True))
        for name, value in item.items():
            assert documented.pop(name) == next(iter(value)), f"{start}: {name}"
        assert set(documented) <= {"repairs", "relinking"}, start


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
    with LocalStorageService(path, project, runtime=Runtime(clock=lambda: nanoseconds)) as log:
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
def test_every_link_has_a_target(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if target.startswith("https://"):
            continue
        path, _, fragment = target.partition("#")
        found = (ROOT / document).parent.joinpath(path).resolve() if path else ROOT / document
        assert found.exists(), f"{document}: {target} leads nowhere"
        if fragment:
            assert fragment in anchors(found.relative_to(ROOT).as_posix()), f"{document}: no heading for {target}"


def test_every_document_is_linked_from_the_readme() -> None:
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


def test_the_files_in_the_layout_of_the_readme_exist() -> None:
    named = set(re.findall(r"\b\w+\.py\b", section("README.md", "## Contributing")))
    assert named
    assert named <= {path.name for path in (ROOT / "src").rglob("*.py")}


def test_the_paths_in_the_architecture_exist() -> None:
    text = read("ARCHITECTURE.md")
    modules = set(re.findall(r"(?<![\w/])(?:sltt_core|aws_backend)/[\w/]+\.py\b", text))
    assert len(modules) > 15
    assert not [path for path in sorted(modules) if not (ROOT / "src" / path).is_file()]
    from_the_root = set(re.findall(r"(?<![\w/])(?:src|tests)/[\w./]*\w", text))
    assert not [path for path in sorted(from_the_root) if not (ROOT / path).exists()]


def test_the_architecture_describes_every_package() -> None:
    described = {row[0].strip("`") for row in rows(section("ARCHITECTURE.md", "## What each package may know"))[1:]}
    there = {path.parent.relative_to(ROOT).as_posix() + "/" for path in (ROOT / "src").glob("*/*/__init__.py")}
    assert described == there


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {__version__} - " in read("CHANGELOG.md")
