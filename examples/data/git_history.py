"""Turn the log of a git repository into changes, oldest first.

Every file of the repository becomes one entity (type ``file``, its path as the id), and every commit
becomes one create, update or delete for each file it touched.

Three choices decide what the history looks like:

* **Merges**: only the first-parent line is read; a merge is one commit that contains all of its branch. So the
  history is a single line, and replaying it gives exactly the files of ``HEAD``. (Without the merges, a file that
  two branches added would be created twice, and the resolution of conflicts would be lost.)
* **Renames**: a delete of the old path and a create of the new one, whose data has ``renamedFrom``.
* **Odd paths**: an entity id has 1 to 255 characters and no control characters, and JSON has no bytes. The id of any
  other path is ``sha256:`` and the hex digest of its bytes. This also applies to a path that starts with
  ``sha256:``, so that two files never have the same id.

``git log`` is read as a stream: memory does not grow with the number of commits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

JSONObject = dict[str, object]

PROJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}")
TEXT_LIMIT = 255  # of an entity id and of changeBy, in characters
STAND_IN = "sha256:"
UNKNOWN_AUTHOR = "unknown author"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# These options override everything in a user's configuration that changes the output, so that the same repository
# gives the same changes on every machine.
LOG_COMMAND = (
    "-c", "log.showRoot=true", "-c", "log.showSignature=false", "-c", "diff.renameLimit=400",
    "log", "-z", "--reverse", "--first-parent", "-m", "--raw", "--numstat", "-O/dev/null",
    "--find-renames=50%", "--diff-algorithm=myers", "--no-ext-diff", "--no-textconv", "--no-relative",
    "--ignore-submodules=none", "--no-color", "--no-notes", "--encoding=UTF-8",
    "--format=%H%x00%at%x00%an%x00%s", "HEAD", "--",
)  # fmt: skip
HEADER_FIELDS = 3  # of a commit, after its hash: author time, author name, subject
NUMSTAT = re.compile(rb"(\d+|-)\t(\d+|-)\t(.*)", re.DOTALL)
READ_SIZE = 1 << 16

# Set inside a git hook, for example; each would make git read another repository than the given one.
MISLEADING = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"}


class GitError(Exception):
    """The history cannot be read; the message is one line."""


class NoHistory(GitError):
    """The folder is not in a repository, or the repository has no commit."""


class _Truncated(Exception):
    """The output of git ended in the middle of a commit."""


class FileChange(NamedTuple):
    """The change of one commit to one file."""

    status: str  # git's letter: A added, D deleted, M modified, T type changed, R renamed
    path: bytes
    renamed_from: bytes | None


class Commit(NamedTuple):
    """One commit of ``git log``; paths are bytes."""

    sha: str
    author_time: str
    author: str
    subject: str
    files: list[FileChange]
    lines: dict[bytes, tuple[int | None, int | None]]  # path -> added, removed; None for a binary file


def changes(repository: str | os.PathLike[str], project_id: str | None = None) -> Iterator[JSONObject]:
    """Yield the changes of ``repository``, oldest commit first.

    Args:
        repository: a folder inside a work tree, or a bare repository.
        project_id: the project of the changes; derived from the folder's name when not given.

    Raises:
        NoHistory: the folder is not in a repository, or the repository has no commit.
        GitError: git is missing, or failed.
    """
    top = top_folder(repository)
    project = project_id or derived_project_id(top.name)
    if _git(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").returncode:
        raise NoHistory(f"{_shown(top)}: this git repository has no commits yet")
    for commit in _commits(top):
        yield from _changes_of(commit, project)


def top_folder(repository: str | os.PathLike[str]) -> Path:
    """Return the root of the work tree that contains ``repository``, or the folder itself when it is bare."""
    folder = Path(repository).resolve()
    if not folder.is_dir():
        raise NoHistory(f"{_shown(folder)}: no such folder")
    found = _git(folder, "rev-parse", "--show-toplevel")
    if found.returncode == 0 and found.stdout:
        return Path(os.fsdecode(found.stdout.removesuffix(b"\n")))
    if _git(folder, "rev-parse", "--git-dir").returncode:
        # Two causes have this exit code, and only git's message distinguishes them: no repository, or one
        # that git refuses to open because another user owns it.
        raise NoHistory(f"{_shown(folder)}: {_reason(found.stderr)}")
    return folder


def derived_project_id(name: str) -> str:
    """Return a valid project id that resembles a folder's name."""
    plain = re.sub(r"[^A-Za-z0-9._~@:+-]+", "-", name.removesuffix(".git"))
    return re.sub(r"^[^A-Za-z0-9]+", "", plain).rstrip("-")[:128] or "repository"


def entity_id(path: bytes) -> str:
    """Return the entity id of the file at ``path``: the path if it is a valid id, else its digest."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        return _stand_in(path)
    fits = 1 <= len(text) <= TEXT_LIMIT and not text.startswith(STAND_IN)
    return text if fits and _without_controls(text) == text else _stand_in(path)


def _stand_in(path: bytes) -> str:
    return STAND_IN + hashlib.sha256(path).hexdigest()


def _changes_of(commit: Commit, project: str) -> Iterator[JSONObject]:
    steps: list[tuple[str, bytes, bytes | None]] = []
    for file in commit.files:
        if file.renamed_from is not None:
            steps.append(("delete", file.renamed_from, None))
            steps.append(("create", file.path, file.renamed_from))
        else:
            steps.append(({"A": "create", "D": "delete"}.get(file.status, "update"), file.path, None))
    author = _without_controls(commit.author).strip()[:TEXT_LIMIT] or UNKNOWN_AUTHOR
    timestamp = _timestamp(commit.author_time)
    for index, (operation, path, renamed_from) in enumerate(steps):
        # The deleted half of a rename has no line counts of its own: git reports them with the new path.
        added, removed = commit.lines.get(path, (0, 0))
        data: JSONObject = {
            "commit": commit.sha,
            "subject": commit.subject,
            "path": _readable(path),
            "added": added,
            "removed": removed,
        }
        if renamed_from is not None:
            data["renamedFrom"] = _readable(renamed_from)
        yield {
            "projectId": project,
            "entityType": "file",
            "entityId": entity_id(path),
            "operation": operation,
            "timestamp": timestamp,
            "changeBy": author,
            "cid": f"{commit.sha[:12]}:{index}",
            "data": data,
        }


def _timestamp(seconds: str) -> str:
    """ISO 8601 of git's author time; the epoch for a time that is damaged or outside the years 1 to 9999."""
    try:
        moment = EPOCH + timedelta(seconds=int(seconds))
    except (ValueError, OverflowError):
        moment = EPOCH
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _without_controls(text: str) -> str:
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)


def _readable(path: bytes) -> str:
    r"""A path as text; bytes that are not UTF-8 show as ``\xNN``, for no lone surrogate may reach JSON."""
    return path.decode("utf-8", "backslashreplace")


def _shown(path: Path) -> str:
    return _readable(os.fsencode(path))


def _commits(top: Path) -> Iterator[Commit]:
    """Run ``git log`` and read its commits one at a time."""
    with tempfile.TemporaryFile() as errors:  # a file, because a full pipe would block git
        command = _command(top, *LOG_COMMAND)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=_environment()) as git:
            assert git.stdout is not None  # because of PIPE
            complete = True
            try:
                yield from _parsed(_tokens(git.stdout))
            except _Truncated:
                complete = False  # git failed; its message is read below
            except BaseException:  # above all GeneratorExit, when the caller stops
                git.terminate()
                raise
        if git.returncode or not complete:
            errors.seek(0)
            raise GitError(f"{_shown(top)}: git log failed: {_reason(errors.read())}")


def _tokens(stream: IO[bytes]) -> Iterator[bytes]:
    """Split a stream at its NUL bytes."""
    rest = b""
    while chunk := stream.read(READ_SIZE):
        *complete, rest = (rest + chunk).split(b"\0")
        yield from complete
    if rest:
        yield rest


def _parsed(tokens: Iterator[bytes]) -> Iterator[Commit]:
    """Read ``hash, time, author, subject, raw entries, numstat entries`` repeatedly.

    A raw entry starts with a colon and a numstat entry contains tabs, so neither looks like a hash.
    """
    commit: Commit | None = None
    for token in tokens:
        record = token.removeprefix(b"\n")  # git puts a line end between a commit and its files
        counts = NUMSTAT.fullmatch(record)
        if not record:
            continue
        if not counts and not record.startswith(b":"):
            if commit is not None:
                yield commit
            header = (_next(tokens).decode("utf-8", "replace") for _ in range(HEADER_FIELDS))
            seconds, author, subject = header
            commit = Commit(record.decode("ascii"), seconds, author, subject, [], {})
            continue
        assert commit is not None, "git log starts with a commit"
        if counts:
            path = counts[3]
            if not path:  # a rename: the old path, then the new one
                _next(tokens)
                path = _next(tokens)
            commit.lines[path] = (_count(counts[1]), _count(counts[2]))
        else:
            status = chr(record.rsplit(b" ", 1)[1][0])
            path = _next(tokens)
            renamed_from = path if status == "R" else None
            commit.files.append(FileChange(status, _next(tokens) if renamed_from else path, renamed_from))
    if commit is not None:
        yield commit


def _next(tokens: Iterator[bytes]) -> bytes:
    for token in tokens:
        return token
    raise _Truncated


def _count(lines: bytes) -> int | None:
    return None if lines == b"-" else int(lines)


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        command = _command(folder, *arguments)
        return subprocess.run(command, capture_output=True, check=False, env=_environment())
    except FileNotFoundError:
        raise GitError("git is not installed, or not on the PATH") from None


def _command(folder: Path, *arguments: str) -> list[str]:
    return ["git", "-C", os.fspath(folder), *arguments]


def _environment() -> dict[str, str]:
    """Return our environment, in English and without the variables that mislead git."""
    kept = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    return {**kept, "LC_ALL": "C"}


def _reason(stderr: bytes) -> str:
    """Return the first line of git's message, without its ``fatal:``."""
    first, *_ = stderr.decode("utf-8", "replace").strip().splitlines() or ["git gave no reason"]
    return first.removeprefix("fatal: ")


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Print the history of a git repository as changes, one JSON object a line, oldest first.",
        epilog="example: python examples/data/git_history.py . --project my-repo --limit 500 > changes.jsonl",
    )
    parser.add_argument("repository", metavar="REPO", help="a folder of the repository, or a bare repository")
    parser.add_argument("--project", metavar="ID", type=_project, help="default: from the folder's name")
    parser.add_argument("--limit", metavar="N", type=_positive, help="stop after the first N changes")
    return parser.parse_args(arguments)


def _project(text: str) -> str:
    if not PROJECT_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a project id: {PROJECT_ID.pattern}")
    return text


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _arguments(arguments)
    try:
        for number, change in enumerate(changes(options.repository, options.project), start=1):
            print(json.dumps(change))  # escaped to ASCII, so that it is valid JSON on any terminal
            if number == options.limit:
                break
    except GitError as error:
        print(f"git_history: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    # As a script, Python puts this folder on the path, not the root of the repository.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.pipes import run_program

    run_program(main)
