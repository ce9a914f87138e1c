"""Who may import whom, and what the Lambda path may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"

# A module imports only from modules that stand above it.
LAYERS = [
    "sltt_core",
    "sltt_core.record",
    "sltt_core.hashes",
    "sltt_core.errors",
    "sltt_core.report",
    "sltt_core.replies",
    "sltt_core.sockets",
    "sltt_core.transport",
    "sltt_core.timestamps",
    "sltt_core.fields",
    "sltt_core.json_reader",
    "sltt_core.drafts",
    "sltt_core.changes",
    "sltt_core.chain",
    "sltt_core.pages",
    "sltt_core.batches",
    "sltt_core.storage",
    "sltt_core.sqlite_file",
    "sltt_core.local_storage",
    "sltt_core.api",
    "sltt_core.api.http",
    "sltt_core.api.problems",
    "sltt_core.api.coding",
    "sltt_core.api.cors",
    "sltt_core.api.routes",
    "sltt_core.api.schemas",
    "sltt_core.api.openapi",
    "sltt_core.api.handlers",
    "sltt_core.api.app",
    "sltt_core.server",
    "sltt_core.server.hosts",
    "sltt_core.server.access_log",
    "sltt_core.server.watcher",
    "sltt_core.server.protocol",
    "sltt_core.server.asgi",
    "sltt_core.server.rest_api_server",
    "sltt_core.server.storages",
    "sltt_core.sync",
    "sltt_core.cli",
    "aws_backend",
    "aws_backend.dynamodb",
    "aws_backend.dynamodb.tls",
    "aws_backend.dynamodb.errors",
    "aws_backend.dynamodb.sigv4",
    "aws_backend.dynamodb.credential_documents",
    "aws_backend.dynamodb.credential_sources",
    "aws_backend.dynamodb.metadata_sources",
    "aws_backend.dynamodb.credentials",
    "aws_backend.dynamodb.retry",
    "aws_backend.dynamodb.client",
    "aws_backend.items",
    "aws_backend.transactions",
    "aws_backend.log_table",
    "aws_backend.news",
    "aws_backend.table",
    "aws_backend.reader",
    "aws_backend.appender",
    "aws_backend.restore",
    "aws_backend.findings",
    "aws_backend.audit",
    "aws_backend.repair",
    "aws_backend.storage",
    "aws_backend.settings",
    "aws_backend.rest_api_server",
    "aws_backend.demo",
    "aws_backend.apigateway",
    "aws_backend.function",
    "aws_backend.lambda_settings",
    "aws_backend.lambda_handler",
]

# What a Lambda function loads before its first request; `*` stands for any name.
LAMBDA_PATH = [
    "sltt_core.errors",
    "sltt_core.changes",
    "sltt_core.storage",
    "sltt_core.api.app",
    "aws_backend.lambda_settings",  # all that `lambda_handler` imports, without what it does
]

# What it may not load: each costs more than the rest of the cold path, or pulls in one that does.
FORBIDDEN = {
    "asyncio",
    "dataclasses",
    "datetime",
    "email",
    "hashlib",
    "hmac",
    "http.client",
    "inspect",
    "logging",
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

# How many modules it may load beyond those of a bare interpreter, our own included.
MODULE_BUDGET = 83  # with those that `site` would have loaded, eight


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


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    assert module in LAYERS
    above = set(LAYERS[: LAYERS.index(module)])
    wrong = [f"line {line}: {name}" for line, name in imports_of(module) if name not in above]
    assert not wrong, f"{module} imports what does not stand above it: {wrong}"


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


def test_the_lambda_path_loads_little() -> None:
    path = [module for module in MODULES if any(fnmatchcase(module, pattern) for pattern in LAMBDA_PATH)]
    assert path, "no module of LAMBDA_PATH exists"

    loaded = loaded_by(path)

    assert set(path) <= set(loaded)
    hint = "`python -X importtime -c 'import …'` tells who loads what"
    assert not FORBIDDEN.intersection(loaded), hint
    ours_or_standard = OUR_PACKAGES | sys.stdlib_module_names
    assert not [name for name in loaded if name.split(".")[0] not in ours_or_standard], hint
    assert len(loaded) <= MODULE_BUDGET, f"{len(loaded)} modules loaded: {loaded}; {hint}"
