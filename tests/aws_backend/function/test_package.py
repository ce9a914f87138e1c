"""The zip for Lambda: it is reproducible, small, and complete for Lambda's Python."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from scripts import interpreters, package
from scripts.engines import DYNOXIDE
from tests.aws_backend.logs import new_table
from tests.conftest import engine_url
from tests.lambda_code import lambda_code, lambda_python, lambda_zip
from tests.sltt_core.auth.samples import SETTINGS
from tests.test_layers import FORBIDDEN, OUR_PACKAGES

MAX_BYTES = 211 * 1024
"""140 before the verification of tokens, of which a function without AUTH_… loads nothing; 166 before members, device
tokens and invitations."""
"""The largest size of the zip, which Lambda fetches at each cold start."""
MAX_MODULES = 68
"""The largest number of modules after the first append, without those of an interpreter as it usually starts (with
`site`)."""


def run(program: str, *arguments: str, **environment: str) -> Any:
    """Run a program in a Python of Lambda's version without packages, and return the JSON that it prints."""
    done = subprocess.run(
        [lambda_python(), "-S", "-P", "-B", "-c", program, str(lambda_code()), *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_zip_is_reproducible(tmp_path: Path) -> None:
    lambda_python()
    src = tmp_path / "elsewhere"
    shutil.copytree(package.ROOT / "src", src, ignore=shutil.ignore_patterns("__pycache__"))
    for path in src.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o700)
    (src / "sltt_core" / "api" / "notes.txt").write_text("a file that no module needs")
    other = package.build(tmp_path / "other.zip", src)
    assert other.read_bytes() == lambda_zip().read_bytes()


def test_the_zip_is_small() -> None:
    assert lambda_zip().stat().st_size <= MAX_BYTES


def test_the_zip_holds_compiled_code_and_the_roots() -> None:
    with ZipFile(lambda_zip()) as file:
        names = file.namelist()
    assert {name.partition("/")[0] for name in names} == OUR_PACKAGES
    assert {Path(name).suffix for name in names} == {".pyc", ".pem", ".bin"}
    assert {"aws_backend/__init__.pyc", "aws_backend/lambda_handler.pyc", "sltt_core/api/openapi.pyc"} <= set(names)
    assert {package.MODULES, package.ROOTS} <= set(names)


def test_no_module_in_the_zip_imports_from_the_front_doors() -> None:
    for file, tree in package.sources(package.ROOT / "src").items():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.module in ("aws_backend", "sltt_core")), file


AUTH_MODULES = {
    f"sltt_core.auth.{name}"
    for name in (
        *("base64url", "claims", "device_tokens", "jwks", "jws", "key_sources", "p256", "rsa", "secret_keys"),
        "verifier",
    )
}
"""What a function loads, with `sltt_core.api.bearer`, if its settings name an issuer of tokens."""

EVERY_MODULE = """
import sys
sys.path.insert(0, sys.argv[1])
import aws_backend
at_startup = sorted(name for name in sys.modules if name.startswith(("aws_backend", "sltt_core")))
import json
for name in json.loads(sys.argv[2]):
    __import__(name)
for name in at_startup:
    package, _, last = name.rpartition(".")
    assert package not in at_startup or getattr(sys.modules[package], last) is sys.modules[name], name
ours = {name: module for name, module in sys.modules.items() if name.startswith(("aws_backend", "sltt_core"))}
files = {name: module.__file__ for name, module in ours.items() if getattr(module, "__file__", None)}
missing = {}
for name in json.loads(sys.argv[3]):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        missing[name] = error.name
from aws_backend.dynamodb.tls import amazon_tls
amazon_tls()
print(json.dumps([at_startup, files, missing, sorted(sys.modules)]))
"""


def test_every_module_can_be_imported_with_python_alone() -> None:
    sources = package.sources(package.ROOT / "src")
    names = {*package.startup_modules(sources), *package.separate_modules(sources)}
    every = {file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in sources}
    assert all(package.is_empty_package(name) for name in every - names)
    assert {"sltt_core.api.app", "sltt_core.api.openapi", "aws_backend.dynamodb.metadata_sources"} < names
    excluded = [
        "aws_backend.dynamodb.credential_sources",
        "aws_backend.dynamodb.profiles",
        "aws_backend.dynamodb.token_sources",
        "aws_backend.upkeep.audit",
        "aws_backend.upkeep.repair",
        "sltt_core.auth.openssl",
        "sltt_core.cli.main",
        "sltt_core.sqlite.storage",
        "sltt_core.server",
    ]
    assert names.isdisjoint(excluded)
    names.remove(package.ENTRY)
    at_startup, files, missing, loaded = run(EVERY_MODULE, json.dumps(sorted(names)), json.dumps(excluded))
    assert files.keys() == names
    not_at_startup = names - set(at_startup)
    assert {name for name in not_at_startup if not package.is_empty_package(name)} == {
        "aws_backend.dynamodb.connections",
        "aws_backend.log.credential_items",
        "aws_backend.log.credentials",
        "aws_backend.log.grants",
        "aws_backend.dynamodb.metadata_sources",
        "sltt_core.http_client.proxies",
        "sltt_core.api.bearer",
        "sltt_core.api.credential_handlers",
        "sltt_core.api.device_tokens",
        "sltt_core.api.member_handlers",
        "sltt_core.api.openapi",
        "sltt_core.api.schemas",
        "sltt_core.api.waiting",
        "sltt_core.api.roles",
        "sltt_core.log.issuing",
        "sltt_core.log.members",
        "sltt_core.model.credentials",
        *AUTH_MODULES,
    }
    # The missing name is the module or one of its packages.
    assert all(name == absent or name.startswith(f"{absent}.") for name, absent in missing.items())
    assert missing.keys() == set(excluded)
    known = OUR_PACKAGES | sys.stdlib_module_names | {"__main__"}
    assert not [name for name in loaded if name.partition(".")[0] not in known]


TRACEBACK = """
import sys
sys.path.insert(0, sys.argv[1])
from aws_backend.settings import storage_from_environment
try:
    storage_from_environment({})
except Exception as error:
    import json, traceback
    last = traceback.extract_tb(error.__traceback__)[-1]
    print(json.dumps([last.filename, last.lineno, last.name]))
"""


def test_a_traceback_has_file_names_and_line_numbers() -> None:
    file = "aws_backend/settings.py"
    lines = (package.ROOT / "src" / file).read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if "raise" in line and "DYNAMODB_TABLE is not" in line]
    assert run(TRACEBACK) == [file, number, "storage_from_environment"]


@pytest.mark.skipif(sys.version_info[:2] == (3, 13), reason="this is Lambda's version")
def test_another_python_version_reports_a_clear_error() -> None:
    program = f"import sys; sys.path.insert(0, {str(lambda_code())!r}); import aws_backend.lambda_handler"
    command = [sys.executable, "-I", "-S", "-B", "-c", program]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert "ImportError: bad magic number in 'aws_backend'" in done.stderr


FIRST_APPEND = """
import sys
import site
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
from aws_backend.lambda_handler import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 10_000

event = {
    "version": "2.0",
    "rawPath": "/api/changes",
    "headers": {"content-type": "application/json"},
    "requestContext": {"http": {"method": "POST"}, "stage": "$default", "domainName": "id.lambda-url.eu-west-1.on.aws"},
    "body": '{"projectId": "p", "entityType": "t", "entityId": "e", "data": {}}',
}
response = handler(event, Context())
loaded = sorted(set(sys.modules) - before)
import json
print(json.dumps({"status": response["statusCode"], "body": json.loads(response["body"]), "loaded": loaded}))
"""


def test_the_first_append_imports_few_modules() -> None:
    endpoint = engine_url(DYNOXIDE)
    result = run(FIRST_APPEND, DYNAMODB_TABLE=new_table(endpoint), DYNAMODB_ENDPOINT=endpoint)
    assert (result["status"], result["body"]["created"]) == (200, 1)
    loaded = result["loaded"]
    assert not FORBIDDEN.intersection(loaded)
    assert len(loaded) <= MAX_MODULES, f"{len(loaded)}: {loaded}"
    assert not [name for name in loaded if name.startswith("sltt_core.auth") or name == "sltt_core.api.bearer"]


def test_the_settings_of_authentication_load_only_what_verifies_tokens() -> None:
    endpoint = engine_url(DYNOXIDE)
    table = {"DYNAMODB_TABLE": new_table(endpoint), "DYNAMODB_ENDPOINT": endpoint}
    without, secured = run(FIRST_APPEND, **table)["loaded"], run(FIRST_APPEND, **table, **SETTINGS)
    assert secured["status"] == 401
    added = set(secured["loaded"]) - set(without)
    added -= {name for name in added if package.is_empty_package(name)}  # namespaces, without a file in the zip
    assert added == {
        *AUTH_MODULES,
        "sltt_core.api.bearer",
        "sltt_core.api.device_tokens",
        "sltt_core.api.roles",
    }
    assert not FORBIDDEN.intersection(secured["loaded"])


NO_TABLE = """
import sys
sys.path.insert(0, sys.argv[1])
try:
    import aws_backend.lambda_handler
except Exception as error:
    import json
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "DYNAMODB_TABLE is not set"),
        ({"DYNAMODB_TABLE": "log", "PROJECT_ID": "a/b"}, "PROJECT_ID"),
        ({"DYNAMODB_TABLE": "log", "MAX_WAIT_SECONDS": "soon"}, "MAX_WAIT_SECONDS is not a number of seconds"),
        ({"DYNAMODB_TABLE": "log"}, "no AWS region is set"),
        (
            {"DYNAMODB_TABLE": "log", "AWS_REGION": "eu-west-1", "AUTH_ISSUER": "https://id.example.org/"},
            "the setting AUTH_AUDIENCE is missing, but AUTH_ISSUER is set",
        ),
    ],
)
def test_an_invalid_setting_ends_the_init_phase_and_is_named(environment: dict[str, str], expected: str) -> None:
    kind, message = run(NO_TABLE, **environment)
    assert kind in ("InvalidInput", "StorageError")
    assert expected in message


def test_a_missing_python_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(interpreters.NoInterpreter, match=r"pyenv install 3\.13"):
        interpreters.find("3.13")
    command = [sys.executable, "-m", "scripts.package", "--target", str(tmp_path / "lambda.zip")]
    done = subprocess.run(command, cwd=package.ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("package: python3.13 is not installed")
    assert "Traceback" not in done.stderr


def test_the_newest_installed_version_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version in ("3.13.2", "3.13.10", "3.12.30"):
        python = tmp_path / "versions" / version / "bin" / f"python{version.rpartition('.')[0]}"
        python.parent.mkdir(parents=True)
        python.write_text("#!/bin/sh\nexit 0\n")
        python.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    if shutil.which("python3.13"):
        pytest.skip("the system has its own Python 3.13, which comes first")
    assert interpreters.find("3.13") == str(tmp_path / "versions" / "3.13.10" / "bin" / "python3.13")
