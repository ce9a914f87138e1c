"""Which modules may import which, and what the Lambda path may load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"

# The rooms in order, and the modules of each in order. A module imports only from modules that stand above it.
ROOMS = {
    "sltt_core": "",
    "sltt_core.base": "version signatures record hashes errors timestamps forks runtime c_json json_reader json_writer",
    "sltt_core.http_client": "responses sockets exchange transport proxies cancellation",
    "sltt_core.model": "fields drafts from_python changes chain stored grants credentials",
    "sltt_core.auth": "base64url jws rsa p256 secret_keys jwks openssl key_sources claims verifier device_tokens",
    "sltt_core.log": "pages batches requests findings verifier repairs arguments restored members issuing credentials "
    "upkeep storage",
    "sltt_core.sqlite": "schema paths file database rows raw_rows notifier readers writer connections verification "
    "repair credential_rows storage",
    "sltt_core.api": "access roles device_tokens http bearer waiting problems cors bodies routes schemas "
    "openapi context member_handlers credential_handlers handlers app request_log",
    "sltt_core.sync": "errors documents results requests remote device_file view outsyncs outcomes outbox forks "
    "projects store events responses downsync outsync resync syncer manager device aio",
    "sltt_core.server": "hosts allowed_hosts log_lines access_log watcher descriptors framing load metrics traces "
    "protocol lanes sending bad_credentials asgi rest_api_server storages",
    "sltt_core.cli": "opening members tokens device_options syncing outbox main",
    "aws_backend": "",
    "aws_backend.dynamodb": "tls errors responses sigv4 retry client credential_documents profiles metadata_sources "
    "connections token_sources credential_sources credentials",
    "aws_backend.log": "errors rules items access_items credential_items transactions table notifier schema reader "
    "queue appender restore grants credentials maintenance",
    "aws_backend.upkeep": "members audit repair",
    "aws_backend:": "storage settings rest_api_server",
    "aws_backend.function": "gateway function settings",
    "aws_backend::": "lambda_handler",
}
"""A room's own `__init__` stands above its modules; a colon continues a package whose `__init__` stands further up."""

FRONT_DOORS = {"sltt_core", "aws_backend"}
"""They name what stands in every room, for type checkers alone; at run time they import nothing."""


def _layers() -> list[str]:
    layers = []
    for room, modules in ROOMS.items():
        package = room.rstrip(":")
        layers += [] if room.endswith(":") else [package]
        layers += [f"{package}.{module}" for module in modules.split()]
    return layers


LAYERS = _layers()

# What a Lambda function loads before its first request; `*` stands for any name.
LAMBDA_PATH = [
    "sltt_core.base.errors",
    "sltt_core.model.changes",
    "sltt_core.log.storage",
    "sltt_core.api.app",
    "aws_backend.function.settings",  # all that `lambda_handler` imports, without what it does
]

# What it may not load: each costs more than the rest of the cold path, or pulls in one that does.
FORBIDDEN = {
    "asyncio",
    "collections",
    "dataclasses",
    "datetime",
    "email",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "http.client",
    "inspect",
    "json",  # `_json` does the same, without `re`
    "logging",
    "operator",
    "re",
    "selectors",
    "socket",  # `_socket` and `_ssl` do the same, without enumerations of all their constants
    "sqlite3",
    "ssl",
    "sltt_core.api.openapi",  # only some requests need it
    "threading",
    "traceback",
    "typing",
    "urllib.parse",
    "zlib",
}

EXPRESSION = re.compile(r"\w*Expression\w*|Put|Update|Delete|ConditionCheck")
"""Keys of DynamoDB's API that only the room which speaks DynamoDB may write
(https://docs.aws.amazon.com/amazondynamodb/latest/APIReference)."""

# How many modules it may load beyond those of a bare interpreter, our own included.
MODULE_BUDGET = 75  # with those that `site` would have loaded, eight


def modules_in(src: Path) -> dict[str, Path]:
    """The modules that exist, by their dotted names."""
    found = {}
    for path in sorted(src.rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules_in(SRC)
OUR_PACKAGES = {module.split(".")[0] for module in LAYERS}


def imports_of(module: str) -> list[tuple[int, str]]:
    """The line and the name of each import of our own, wherever in the module it stands."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            # `from package import name` imports a module when there is one of that name.
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            names = list(dict.fromkeys(name if name in MODULES else base for name in submodules))
        else:
            continue
        found += [(node.lineno, name) for name in names if name.split(".")[0] in OUR_PACKAGES]
    return found


def test_the_list_of_layers_names_every_module_once() -> None:
    assert len(LAYERS) == len(set(LAYERS))
    missing = sorted(MODULES.keys() - set(LAYERS))
    assert not missing, f"give these a place in LAYERS: {missing}"


def test_a_package_has_only_its_docstring() -> None:
    for room in ROOMS.keys() - FRONT_DOORS - {"aws_backend:", "aws_backend::"}:
        (docstring,) = ast.parse(MODULES[room].read_text(encoding="utf-8")).body
        assert isinstance(docstring, ast.Expr), room


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_above_it(module: str) -> None:
    assert module in LAYERS
    if module in FRONT_DOORS:
        return
    above = set(LAYERS[: LAYERS.index(module)])
    wrong = [f"line {line}: {name}" for line, name in imports_of(module) if name not in above]
    assert not wrong, f"{module} imports what does not stand above it: {wrong}"


def dynamodb_keys(module: str) -> list[str]:
    """The module's texts that are keys of a request of DynamoDB: of an expression, or of an action of a transaction."""
    texts = [
        node.value
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [text for text in texts if EXPRESSION.fullmatch(text)]


def test_one_room_writes_the_expressions_of_dynamodb() -> None:
    writers = {module for module in MODULES if dynamodb_keys(module)}
    assert writers == {"aws_backend.log.table", "aws_backend.log.transactions", "aws_backend.log.maintenance"}


def test_the_core_never_imports_the_aws_backend() -> None:
    core = [module for module in MODULES if module.split(".")[0] == "sltt_core"]
    assert core
    wrong = [
        f"{module}, line {line}: {name}"
        for module in core
        for line, name in imports_of(module)
        if name.split(".")[0] == "aws_backend"
    ]
    assert not wrong


def loaded_by(modules: list[str]) -> list[str]:
    """What a fresh interpreter without site-packages loads when it imports `modules`, beyond its own."""
    program = f"""
import sys
before = set(sys.modules)
sys.path.insert(0, {str(SRC)!r})
for module in {modules!r}:
    __import__(module)
print("\\n".join(sorted(set(sys.modules) - before)))
"""
    # -I: no environment, no current folder; -S: no site-packages, so no editable install either.
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_the_lambda_path_loads_few_modules() -> None:
    path = [module for module in MODULES if any(fnmatchcase(module, pattern) for pattern in LAMBDA_PATH)]
    assert path, "no module of LAMBDA_PATH exists"

    loaded = loaded_by(path)

    assert set(path) <= set(loaded)
    hint = "`python -X importtime -c 'import …'` tells who loads what"
    assert not FORBIDDEN.intersection(loaded), hint
    ours_or_standard = OUR_PACKAGES | sys.stdlib_module_names
    assert not [name for name in loaded if name.split(".")[0] not in ours_or_standard], hint
    counted = [
        name for name in loaded if name not in ROOMS or name == "aws_backend"
    ]  # as in the zip, which has no other package
    assert len(counted) <= MODULE_BUDGET, f"{len(counted)} modules loaded: {counted}; {hint}"
