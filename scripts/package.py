"""`python -m scripts.package`: the zip for Lambda, our two packages compiled ahead for its Python, and nothing else.

The same source gives the same bytes, on any day and from any folder: names in order, one date, the same file modes, and
code that names its files as they are called in the zip. The code is compiled without what nothing looks at when it
runs (docstrings, assertions, annotations of functions, columns of lines), for a cold start reads all of it; and it
stands where the source would (PEP 3147, "Case 4"), for a cold start need not look for that.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.13"
"""Lambda's runtime `python3.13`; another one refuses the zip's code."""
TARGET = ROOT / "dist" / "lambda.zip"
PACKAGES = ("aws_backend", "sltt_core")
LEFT_OUT = {
    "sltt_core/server": "for laptops; needs uvicorn",
    "sltt_core/cli.py": "for laptops; needs click",
    "sltt_core/sync": "for devices",
    "sltt_core/local_storage.py": "the log is in DynamoDB",
    "sltt_core/sqlite_file.py": "the log is in DynamoDB",
    "aws_backend/audit.py": "for whoever looks after a table",
    "aws_backend/repair.py": "for whoever looks after a table",
    "aws_backend/restore.py": "for whoever looks after a table",
}
"""What a Lambda function never imports, and why."""
DATE = (1980, 1, 1, 0, 0, 0)
"""The first that a zip can say."""


def sources(src: Path) -> list[str]:
    """Return the files that belong in the zip, by their names in it, in order."""
    found = []
    for package in PACKAGES:
        for path in (src / package).rglob("*"):
            name = path.relative_to(src).as_posix()
            wanted = path.suffix == ".py" or path.suffix == ".pem"
            if path.is_file() and wanted and not any(f"{name}/".startswith(f"{left}/") for left in LEFT_OUT):
                found.append(name)
    return sorted(found)


def pack(src: Path, target: Path) -> None:
    """Write the zip, with the Python that runs this."""
    import importlib.util
    import marshal
    from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

    with ZipFile(target, "w") as file:
        for name in sources(src):
            content = (src / name).read_bytes()
            if name.endswith(".py"):
                tree = ast.fix_missing_locations(_Bare().visit(ast.parse(content)))
                code = compile(tree, name, "exec", dont_inherit=True, optimize=2)
                # The header of a file that is never checked against its source (PEP 552).
                content = importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)
                name += "c"
            entry = ZipInfo(name, DATE)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, content, ZIP_DEFLATED, compresslevel=9)


class _Bare(ast.NodeTransformer):
    """Takes annotations away from functions; a class keeps its names, of which records are made."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(statement) for statement in node.orelse]
        return self.generic_visit(node)


def build(target: Path = TARGET, src: Path = ROOT / "src") -> Path:
    """Write the zip with Lambda's Python; raises `interpreters.NoInterpreter` where there is none."""
    from scripts.interpreters import find

    python = find(PYTHON)
    target.parent.mkdir(parents=True, exist_ok=True)
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
    print(f"{target}: {target.stat().st_size / 1024:.1f} KiB; handler aws_backend.lambda_handler.handler")


if __name__ == "__main__":
    main()
