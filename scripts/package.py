"""`python -m scripts.package`: the zip for Lambda, what its handler imports of our two packages, compiled ahead.

The same source gives the same bytes, on any day and from any folder: names in order, one date, the same file modes, and
code that names its files as they are called in the zip. The code is compiled without what nothing looks at when it
runs (docstrings, assertions, annotations of functions, columns of lines), for a cold start reads all of it. What every
cold start runs is one file, which `scripts/zip_loader.py` reads. The rest stands where the source would (PEP 3147,
"Case 4"), for a cold start need not look for that.
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
"""Lambda's runtime `python3.13`; another one refuses the zip's code."""
TARGET = ROOT / "dist" / "lambda.zip"
ENTRY = "aws_backend.lambda_handler"
LEFT_OUT = (
    "aws_backend.dynamodb.credential_sources",
    "aws_backend.dynamodb.profiles",
    "aws_backend.dynamodb.token_sources",
    "aws_backend.upkeep.audit",
    "aws_backend.upkeep.repair",
    "aws_backend.log.maintenance",
    "aws_backend.log.restore",
    "aws_backend.log.schema",
    "sltt_core.base.json_writer",
)
"""What is imported only to look after a table, or for `data` that comes from Python: never in a Lambda function."""
LOADED = "aws_backend/__init__.py"
"""The loader takes its place."""
FRONT_DOORS = ("aws_backend/__init__.py", "sltt_core/__init__.py")
"""They serve users of the packages; nothing in the zip imports from them."""
LOADER = ROOT / "scripts" / "zip_loader.py"
MODULES = "aws_backend/modules.bin"
ROOTS = "aws_backend/dynamodb/amazon_roots.pem"
DATE = (1980, 1, 1, 0, 0, 0)
"""The first that a zip can say."""


def sources(src: Path) -> dict[str, ast.Module]:
    """Return what the entry imports, now or when it is needed, and what that imports: code by file, in order."""
    found: dict[str, ast.Module] = {}
    waiting, seen = [ENTRY], set(LEFT_OUT)
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = src / module.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.is_file():
            file = path.relative_to(src).as_posix()
            tree = found[file] = _Bare().visit(ast.parse(b"" if file in FRONT_DOORS else path.read_bytes()))
            waiting += [*_packages(module), *_imported(tree)]
    return dict(sorted(found.items()))


def at_once(trees: dict[str, ast.Module]) -> list[str]:
    """Return the modules that the entry imports before it does anything, each after those that it imports itself.

    A package that holds only a docstring is left out unless something is imported from it by name: Python finds a
    loaded module without its package, and each package would be one more module to make at every cold start.
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

    visit(ENTRY)
    return [module for module in order if module not in (ENTRY, _module(LOADED))]


def apart(trees: dict[str, ast.Module]) -> list[str]:
    """Return the modules that are files of their own: the entry, what only some requests need, the packages of both.

    A package that holds only a docstring and no such file is left out altogether.
    """
    modules = {_module(file): tree for file, tree in trees.items()}
    others = modules.keys() - set(at_once(trees))
    files = {name for name in others if len(modules[name].body) > 1}
    return sorted(files | {package for name in files for package in _packages(name)} & others)


def is_empty_package(module: str, src: Path = ROOT / "src") -> bool:
    """Tell whether a module is a package that holds nothing in the zip: only a docstring, or a front door."""
    path = src / module.replace(".", "/") / "__init__.py"
    front_door = path.relative_to(src).as_posix() in FRONT_DOORS
    return path.is_file() and (front_door or len(ast.parse(path.read_bytes()).body) <= 1)


def _module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _packages(module: str) -> list[str]:
    """Return the packages that a module is in, the outermost first."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _imported(tree: ast.AST, *, functions: bool = True) -> list[str]:
    """What some code imports, and what may be a module or not; if need be without what its functions do."""
    names = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif functions or not isinstance(node, ast.FunctionDef):
            names += _imported(node, functions=functions)
    return names


def pack(src: Path, target: Path) -> None:
    """Write the zip, with the Python that runs this."""
    import importlib.util
    import marshal
    from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

    trees = sources(src)
    order = at_once(trees)
    files = apart(trees)
    trees[LOADED] = ast.parse(LOADER.read_bytes())
    codes = {
        _module(file): _short_names(
            compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True, optimize=2)
        )
        for file, tree in trees.items()
    }
    contents = {ROOTS: (src / ROOTS).read_bytes(), MODULES: marshal.dumps([(name, codes.pop(name)) for name in order])}
    # The header of a file that is never checked against its source (PEP 552).
    header = importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little") + bytes(8)
    contents |= {f"{codes[name].co_filename}c": header + marshal.dumps(codes[name]) for name in files}
    with ZipFile(target, "w") as file:
        for name, content in sorted(contents.items()):
            entry = ZipInfo(name, DATE)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, content, ZIP_DEFLATED, compresslevel=9)


def _short_names(code: CodeType) -> CodeType:
    """Leave out the qualified names of functions, which only `repr` and messages of `TypeError` show."""
    inner = tuple(_short_names(part) if isinstance(part, CodeType) else part for part in code.co_consts)
    return code.replace(co_consts=inner, co_qualname=code.co_name)


class _Bare(ast.NodeTransformer):
    """Removes what only a type checker reads. A class keeps the names that it annotates: a record's fields."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
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
    """Write the zip with Lambda's Python; raises `interpreters.NoInterpreter` where there is none."""
    from scripts.interpreters import find

    python = find(PYTHON)
    if target.is_dir():
        raise IsADirectoryError(EISDIR, "it is a folder; name a file in it", str(target))
    if target == TARGET:
        target.parent.mkdir(exist_ok=True)
    elif not target.parent.is_dir():
        raise FileNotFoundError(ENOENT, "there is no such folder", str(target.parent))
    # Sets in code stand in the order of their hashes, which differ from process to process unless told not to.
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"}
    arguments = [python, "-S", "-X", "no_debug_ranges", __file__, "--here", str(src), str(target)]
    subprocess.run(arguments, env=environment, check=True)
    return target


def main() -> None:
    """Build the zip and say where it is."""
    if sys.argv[1:2] == ["--here"]:
        pack(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(
        prog="python -m scripts.package",
        description=f"Make the zip for AWS Lambda's python{PYTHON}: our code, compiled, and no dependency.",
        epilog="example: python -m scripts.package --target /tmp/lambda.zip",
    )
    parser.add_argument("--target", type=Path, default=TARGET, help="where the zip goes; default: dist/lambda.zip")
    from scripts.interpreters import NoInterpreter

    try:
        target = build(parser.parse_args().target)
    except NoInterpreter as error:
        sys.exit(f"package: {error}")
    except OSError as error:
        sys.exit(f"package: cannot write {error.filename}: {error.strerror}")
    except subprocess.CalledProcessError:
        sys.exit("package: the zip could not be made; what went wrong is above")
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"{target}: {target.stat().st_size / 1024:.1f} KiB; handler aws_backend.lambda_handler.handler")


if __name__ == "__main__":
    main()
