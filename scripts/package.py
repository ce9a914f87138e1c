"""`python -m scripts.package`: writes the zip for Lambda. It holds the compiled modules that the handler imports.

The same source always gives the same bytes: entries are sorted by name, all have one date and one file mode, and the
code has the file names of the zip. The code is compiled without parts that are not used when it runs (docstrings,
assertions, annotations of functions, column numbers), because a cold start reads all of it.

One file holds the modules that every cold start runs; `scripts/zip_loader.py` reads it. The other modules are where
their source would be (PEP 3147, "Case 4"), where Python finds them without a search.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from errno import EISDIR, ENOENT
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.13"
"""The version of Lambda's runtime `python3.13`. Other versions cannot run the zip's code."""
TARGET = ROOT / "dist" / "lambda.zip"
ENTRY = "aws_backend.lambda_handler"
VERSION = "sltt_core.base.version"
"""Only some requests need it, but it is smaller among the modules that every cold start runs than in its own file."""
EXCLUDED = (
    "aws_backend.dynamodb.credential_sources",
    "aws_backend.dynamodb.profiles",
    "aws_backend.dynamodb.token_sources",
    "aws_backend.upkeep.audit",
    "aws_backend.upkeep.repair",
    "aws_backend.log.maintenance",
    "aws_backend.log.restore",
    "aws_backend.log.schema",
    "sltt_core.auth.openssl",
    "sltt_core.base.json_writer",
    "sltt_core.base.signatures",
    "sltt_core.log.restored",
    "sltt_core.model.from_python",
)
"""Modules for maintaining and restoring tables, for callers in Python, and for a library that the zip does not have.

A Lambda function never imports them.
"""
REPLACED = "aws_backend/__init__.py"
"""The loader replaces this file."""
FRONT_DOORS = ("aws_backend/__init__.py", "sltt_core/__init__.py")
"""For users of the packages. No module in the zip imports from them."""
LOADER = ROOT / "scripts" / "zip_loader.py"
MODULES = "aws_backend/modules.bin"
ROOTS = "aws_backend/dynamodb/amazon_roots.pem"
DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip can contain."""


def sources(src: Path) -> dict[str, ast.Module]:
    """Return all modules that the entry imports, directly or not, at once or later: sorted syntax trees by file."""
    found: dict[str, ast.Module] = {}
    waiting, seen = [ENTRY], set(EXCLUDED)
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = src / module.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.is_file():
            file = path.relative_to(src).as_posix()
            tree = found[file] = _Strip().visit(ast.parse(b"" if file in FRONT_DOORS else path.read_bytes()))
            waiting += [*_packages(module), *_imported(tree)]
    return dict(sorted(found.items()))


def startup_modules(trees: dict[str, ast.Module]) -> list[str]:
    """Return the modules that are imported when the entry is imported; each is after the modules that it imports.

    A package with only a docstring is left out, unless something is imported from it by name. Python finds a loaded
    module without its package, and creating each package would cost time at every cold start.
    """
    modules = {_module(file): tree for file, tree in trees.items()}
    named = {name for tree in modules.values() for name in _imported(tree, functions=False)}
    order: list[str] = []

    def visit(module: str) -> None:
        if module in modules and module not in order:
            packages = [
                name for name in _packages(module) if name in modules and (name in named or len(modules[name].body) > 1)
            ]
            for name in [*packages, *_imported(modules[module], functions=False)]:
                visit(name)
            order.append(module)

    for module in (VERSION, ENTRY):
        visit(module)
    return [module for module in order if module not in (ENTRY, _module(REPLACED))]


def separate_modules(trees: dict[str, ast.Module]) -> list[str]:
    """Return the modules with a file of their own: the loader, the entry, and those that only some requests need.

    A package that has only a docstring is left out. Python imports its modules from the folder all the same, as those
    of a namespace package (PEP 420).
    """
    modules = {_module(file): tree for file, tree in trees.items()}
    others = modules.keys() - set(startup_modules(trees))
    return sorted({name for name in others if len(modules[name].body) > 1} | {_module(REPLACED)})


def is_empty_package(module: str, src: Path = ROOT / "src") -> bool:
    """Return whether a module is a package without code in the zip: it has only a docstring, or is a front door."""
    path = src / module.replace(".", "/") / "__init__.py"
    front_door = path.relative_to(src).as_posix() in FRONT_DOORS
    return path.is_file() and (front_door or len(ast.parse(path.read_bytes()).body) <= 1)


def _module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _packages(module: str) -> list[str]:
    """Return the packages of a module, the outermost first."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _imported(tree: ast.AST, *, functions: bool = True) -> list[str]:
    """Return the names that some code imports, modules or not; without `functions`, not the imports in functions."""
    names = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif functions or not isinstance(node, ast.FunctionDef):
            names += _imported(node, functions=functions)
    return names


def write_zip(src: Path, target: Path) -> None:
    """Write the zip with the code of the running Python."""
    import importlib.util
    import marshal
    from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

    trees = sources(src)
    order = startup_modules(trees)
    files = separate_modules(trees)
    trees[REPLACED] = ast.parse(LOADER.read_bytes())
    codes = {
        _module(file): _without_qualified_names(
            compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True, optimize=2)
        )
        for file, tree in trees.items()
    }
    contents = {ROOTS: (src / ROOTS).read_bytes(), MODULES: marshal.dumps([(name, codes.pop(name)) for name in order])}
    # The header of a .pyc file that Python does not check against its source (PEP 552).
    header = importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little") + bytes(8)
    contents |= {f"{codes[name].co_filename}c": header + marshal.dumps(codes[name]) for name in files}
    with ZipFile(target, "w") as file:
        for name, content in sorted(contents.items()):
            entry = ZipInfo(name, DATE)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, content, ZIP_DEFLATED, compresslevel=9)


def _without_qualified_names(code: CodeType) -> CodeType:
    """Remove the qualified names of functions, which only `repr` and messages of `TypeError` use."""
    inner = tuple(_without_qualified_names(part) if isinstance(part, CodeType) else part for part in code.co_consts)
    return code.replace(co_consts=inner, co_qualname=code.co_name)


class _Strip(ast.NodeTransformer):
    """Removes what only a type checker reads, and abstract methods, which a storage overrides.

    A class keeps its annotated names, which define a record's fields.
    """

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        if any(ast.unparse(decorator) == "abstractmethod" for decorator in node.decorator_list):
            return None
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node  # no annotation is left to be evaluated

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if ast.unparse(node) == "TYPE_CHECKING = False" else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        test = ast.unparse(node.test)
        if test not in ("TYPE_CHECKING", "not TYPE_CHECKING"):
            return self.generic_visit(node)
        return [self.visit(statement) for statement in (node.orelse if test == "TYPE_CHECKING" else node.body)]


def build(target: Path = TARGET, src: Path = ROOT / "src") -> Path:
    """Write the zip with Lambda's Python and return its path.

    Raises `interpreters.NoInterpreter` if that Python is not installed, and `OSError` if the target cannot be written.
    """
    from scripts.interpreters import find

    python = find(PYTHON)
    if target.is_dir():
        raise IsADirectoryError(EISDIR, "it is a folder; name a file in it", str(target))
    if target == TARGET:
        target.parent.mkdir(exist_ok=True)
    elif not target.parent.is_dir():
        raise FileNotFoundError(ENOENT, "its folder does not exist", str(target.parent))
    # The order of a set in code depends on its hashes, which differ between processes unless the seed is fixed.
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"}
    arguments = [python, "-S", "-X", "no_debug_ranges", __file__, "--here", str(src), str(target)]
    subprocess.run(arguments, env=environment, check=True)
    return target


def main() -> None:
    """Build the zip and print its path."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.package",
        description=f"Build the zip for AWS Lambda's python{PYTHON}: the compiled code, without dependencies.",
        epilog="example: python -m scripts.package --target /tmp/lambda.zip",
    )
    parser.add_argument("--target", type=Path, default=TARGET, help="path of the zip; default: dist/lambda.zip")
    from scripts.interpreters import NoInterpreter

    try:
        target = build(parser.parse_args().target)
    except NoInterpreter as error:
        sys.exit(f"package: {error}")
    except OSError as error:
        sys.exit(f"package: cannot write {error.filename}: {error.strerror}")
    except subprocess.CalledProcessError:
        sys.exit("package: cannot build the zip; the reason is above")
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"{target}: {target.stat().st_size / 1024:.1f} KiB; handler aws_backend.lambda_handler.handler")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:  # the interpreter of Lambda's version, which finds no other module of ours
        write_zip(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        from scripts.pipes import run_program

        run_program(main)
