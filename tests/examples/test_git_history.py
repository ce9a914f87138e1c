from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.data import git_history

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


class Repository:
    """A git repository to make history in; time goes on by an hour with each commit."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.hours = 0
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", *options)

    def git(self, *arguments: str | bytes, **environment: str) -> bytes:
        command = [b"git", b"-C", os.fsencode(self.path), *map(os.fsencode, arguments)]
        return subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment}).stdout

    def write(self, name: str | bytes, content: bytes = b"one\ntwo\n") -> None:
        target = os.path.join(os.fsencode(self.path), os.fsencode(name))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(os.fsdecode(target)).write_bytes(content)

    def commit(self, subject: str = "work", *options: str, author: str = "Ada <ada@example.org>") -> str:
        self.hours += 1
        date = f"2024-05-01T{self.hours:02}:00:00+02:00"
        self.git("add", "--all")
        self.git("commit", "--quiet", f"--message={subject}", f"--author={author}", f"--date={date}", *options)
        return self.git("rev-parse", "HEAD").decode().strip()

    def changes(self) -> list[Any]:
        return list(git_history.changes(self.path))

    def history(self) -> list[tuple[Any, Any]]:
        return [(change["operation"], change["entityId"]) for change in self.changes()]


@pytest.fixture(autouse=True)
def own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Shut out the configuration of the machine; returns the file that takes its place."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    configuration = tmp_path / "gitconfig"
    configuration.write_text("[user]\n\tname = Committer\n\temail = committer@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return configuration


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def test_a_commit_becomes_a_change_per_file(repository: Repository) -> None:
    repository.write("a.txt")
    repository.write("b/c.txt")
    first = repository.commit("begin")
    repository.write("a.txt", b"one\n2\nthree\n")
    (repository.path / "b/c.txt").unlink()
    second = repository.commit("go on", author="Grace Hopper <grace@example.org>")

    def change(commit: str, index: int, operation: str, path: str, added: int, removed: int) -> dict[str, object]:
        subject, author, hour = ("begin", "Ada", 1) if commit == first else ("go on", "Grace Hopper", 2)
        return {
            "projectId": "repo",
            "entityType": "file",
            "entityId": path,
            "operation": operation,
            "timestamp": f"2024-{'05-01' if hour == 2 else '04-30'}T{(hour - 2) % 24:02}:00:00.000Z",
            "changeBy": author,
            "cid": f"{commit[:12]}:{index}",
            "data": {"commit": commit, "subject": subject, "path": path, "added": added, "removed": removed},
        }

    assert repository.changes() == [
        change(first, 0, "create", "a.txt", 2, 0),
        change(first, 1, "create", "b/c.txt", 2, 0),
        change(second, 0, "update", "a.txt", 2, 1),
        change(second, 1, "delete", "b/c.txt", 0, 2),
    ]


def test_replaying_all_of_it_gives_the_files_of_head(repository: Repository) -> None:
    git, write, commit = repository.git, repository.write, repository.commit
    write("shared", b"base\n")
    write("old name", b"".join(b"line %d\n" % n for n in range(50)))
    write("doomed")
    commit("base")
    git("checkout", "--quiet", "-b", "side")
    write("both", b"from the side\n")
    write("shared", b"side\n")
    git("mv", "old name", "new name")
    commit("side")
    git("checkout", "--quiet", "main")
    write("both", b"from main\n")
    write("shared", b"main\n")
    (repository.path / "doomed").unlink()
    commit("main")
    with pytest.raises(subprocess.CalledProcessError):
        git("merge", "side")  # both, and shared: conflicts
    write("both", b"settled\n")
    write("shared", b"settled\n")
    write("only in the merge")
    merge = commit("merge")
    write("doomed", b"again\n")
    commit("back from the dead")

    alive: set[str] = set()
    for change in repository.changes():
        path, operation = change["entityId"], change["operation"]
        assert (operation == "create") == (path not in alive), change
        (alive.discard if operation == "delete" else alive.add)(path)
    assert alive == set(git("ls-tree", "-r", "-z", "--name-only", "HEAD").decode().split("\0")[:-1])
    merged = {c["entityId"]: c["operation"] for c in repository.changes() if c["data"]["commit"] == merge}
    assert merged == {
        "both": "update",
        "shared": "update",
        "only in the merge": "create",
        "old name": "delete",
        "new name": "create",
    }


def test_a_rename_is_a_delete_and_a_create_that_knows_where_it_came_from(repository: Repository) -> None:
    lines = b"".join(b"line %d\n" % n for n in range(20))
    repository.write("before", lines)
    repository.commit()
    (repository.path / "before").unlink()
    repository.write("after", lines + b"and one more\n")
    repository.commit()
    deleted, created = repository.changes()[1:]
    assert (deleted["operation"], deleted["entityId"]) == ("delete", "before")
    assert "renamedFrom" not in deleted["data"]
    assert (created["operation"], created["entityId"]) == ("create", "after")
    assert created["data"] | {"commit": "", "subject": ""} == {
        "commit": "",
        "subject": "",
        "path": "after",
        "added": 1,
        "removed": 0,
        "renamedFrom": "before",
    }
    assert [change["cid"][-2:] for change in (deleted, created)] == [":0", ":1"]


def test_a_binary_file_has_no_lines(repository: Repository) -> None:
    repository.write("sign.mp4", b"\0\1\2")
    repository.commit()
    data = repository.changes()[0]["data"]
    assert data["added"] is None
    assert data["removed"] is None


def test_another_mode_or_type_is_an_update(repository: Repository) -> None:
    repository.write("script")
    repository.write("target")
    repository.commit()
    (repository.path / "script").chmod(0o755)
    repository.commit()
    (repository.path / "script").unlink()
    (repository.path / "script").symlink_to("target")
    repository.commit()
    assert repository.history()[2:] == [("update", "script"), ("update", "script")]


def test_a_submodule_is_a_file(repository: Repository) -> None:
    repository.write("a")
    commit = repository.commit()
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    repository.git("commit", "--quiet", "--message=submodule")
    assert repository.history()[1:] == [("create", "module")]


FITTING = [
    "with space",
    " leading and trailing ",
    'quo"te',
    "back\\slash",
    ":100644 looks raw A",
    "0123456789abcdef0123456789abcdef01234567",
    "Rut/רוּת/名前 🤟.txt",
    "-option",
    "x/" * 90 + "y" * 75,  # 255 characters
]
ODD = [
    b"new\nline",
    b"tab\there",
    b"1\t2\tlooks like numstat",
    b"\nfirst",
    b"delete\x7f",
    "c1 control \x85".encode(),
    b"latin-1 \xe9",
    b"surrogate \xed\xa0\x80",
    b"x/" * 90 + b"y" * 76,  # 256 characters
    b"sha256:" + b"0" * 64,
]


def test_odd_names(repository: Repository) -> None:
    names = [os.fsencode(name) for name in FITTING] + ODD
    try:
        for name in names:
            repository.write(name)
    except OSError as error:
        pytest.skip(f"this file system does not take every name: {error}")
    repository.commit()
    history = repository.changes()
    by_id = {change["entityId"]: change for change in history}
    stand_ins = {"sha256:" + hashlib.sha256(name).hexdigest() for name in ODD}
    assert set(by_id) == set(FITTING) | stand_ins
    assert len(history) == len(names)
    for change in history:
        assert 1 <= len(change["entityId"]) <= 255
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", change["entityId"])
        assert (change["data"]["added"], change["data"]["removed"]) == (2, 0)
        json.dumps(change, ensure_ascii=False).encode()  # a lone surrogate would not go through
    latin = by_id["sha256:" + hashlib.sha256(b"latin-1 \xe9").hexdigest()]
    assert latin["data"]["path"] == r"latin-1 \xe9"
    newline = by_id["sha256:" + hashlib.sha256(b"new\nline").hexdigest()]
    assert newline["data"]["path"] == "new\nline"


def test_an_odd_name_keeps_its_stand_in(repository: Repository) -> None:
    repository.write(b"odd\n", b"".join(b"line %d\n" % n for n in range(20)))
    repository.commit()
    repository.git("mv", b"odd\n", "even")
    repository.commit()
    created, deleted, renamed = repository.changes()
    assert created["entityId"] == deleted["entityId"] == git_history.entity_id(b"odd\n")
    assert renamed["data"]["renamedFrom"] == "odd\n"


def test_commits_without_files_or_words(repository: Repository) -> None:
    repository.commit("nothing", "--allow-empty")
    assert repository.changes() == []
    repository.write("a")
    repository.commit("", "--allow-empty-message")
    repository.commit("", "--allow-empty", "--allow-empty-message")
    repository.write("b")
    repository.commit("two lines\nof subject: ünïcode\n\nand a body")
    assert [change["data"]["subject"] for change in repository.changes()] == [
        "",
        "two lines of subject: ünïcode",
    ]


def _fast_import(repository: Repository, name: bytes, message: bytes = b"m") -> None:
    """Commit as git's own command would not."""
    stream = b"commit refs/heads/main\nauthor %s<a@example.org> 1700000000 +0000\n" % name
    stream += b"committer C <c@example.org> 1700000000 +0000\ndata %d\n%s\n" % (len(message), message)
    stream += b"M 644 inline file\ndata 2\nx\n\n"
    command = ["git", "-C", str(repository.path), "fast-import", "--quiet"]
    subprocess.run(command, input=stream, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("name", "change_by"),
    [
        (b"", "unknown author"),
        (b" \t ", "unknown author"),
        (b"Bell\x07 Ringer ", "Bell  Ringer"),
        (b"x" * 300 + b" ", "x" * 255),
        ("Đặng Minh Châu ".encode(), "Đặng Minh Châu"),
        (b"Ren\xe9 ", "Ren\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_author(repository: Repository, name: bytes, change_by: str) -> None:
    _fast_import(repository, name, b"subject \xff")
    (change,) = repository.changes()
    assert change["changeBy"] == change_by
    json.dumps(change, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("seconds", "timestamp"),
    [
        ("0", "1970-01-01T00:00:00.000Z"),
        ("-86400", "1969-12-31T00:00:00.000Z"),
        ("1741599000", "2025-03-10T09:30:00.000Z"),
        ("-62135596800", "0001-01-01T00:00:00.000Z"),
        ("253402300800", "1970-01-01T00:00:00.000Z"),  # the year 10000
        ("9" * 30, "1970-01-01T00:00:00.000Z"),
        ("", "1970-01-01T00:00:00.000Z"),
    ],
)
def test_the_time(seconds: str, timestamp: str) -> None:
    assert git_history._timestamp(seconds) == timestamp


@pytest.mark.parametrize(
    ("folder", "project"),
    [
        ("sltt-aws-backend", "sltt-aws-backend"),
        ("bare.git", "bare"),
        (".git", "repository"),
        ("", "repository"),
        ("_private", "private"),
        ("My Projects (old)", "My-Projects-old"),
        ("רות", "repository"),
        ("a#b/c", "a-b-c"),
        ("\udcff", "repository"),
        ("x" * 200, "x" * 128),
    ],
)
def test_the_project_id_comes_from_the_folder(folder: str, project: str) -> None:
    assert git_history.derived_project_id(folder) == project
    assert git_history.PROJECT_ID.fullmatch(project)


def test_a_subfolder_and_a_bare_clone_give_the_same_history(repository: Repository, tmp_path: Path) -> None:
    repository.write("inner/a")
    repository.commit()
    repository.git("clone", "--quiet", "--bare", ".", str(tmp_path / "repo.git"))
    expected = repository.changes()
    assert list(git_history.changes(repository.path / "inner")) == expected
    assert list(git_history.changes(tmp_path / "repo.git")) == expected


def test_a_shallow_clone_begins_with_what_it_has(repository: Repository, tmp_path: Path) -> None:
    repository.write("a")
    repository.commit()
    repository.write("b")
    repository.commit()
    clone = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.path}", str(clone))
    assert [(c["operation"], c["entityId"]) for c in git_history.changes(clone)] == [
        ("create", "a"),
        ("create", "b"),
    ]


def test_the_users_configuration_changes_nothing(repository: Repository, own_configuration: Path) -> None:
    lines = b"".join(b"line %d\n" % n for n in range(20))
    repository.write("a", lines)
    repository.write("b", b"b\n")
    repository.commit()
    repository.git("mv", "a", "c")
    repository.write("copy of b", b"b\n")
    repository.write("b", b"other\n")
    repository.commit()
    expected = repository.changes()
    order = own_configuration.with_name("order")
    order.write_text("c\n")
    with own_configuration.open("a") as file:
        file.write(
            f"[diff]\n\trenames = copies\n\torderFile = {order}\n\tnoprefix = true\n\texternal = false\n"
            "\talgorithm = patience\n\trelative = true\n\trenameLimit = 1\n"
            "[log]\n\tshowRoot = false\n\tshowSignature = true\n\tdate = relative\n\tdecorate = full\n"
            "[color]\n\tui = always\n[format]\n\tpretty = oneline\n[core]\n\tquotePath = true\n"
            "[i18n]\n\tlogOutputEncoding = ISO-8859-1\n"
        )
    assert repository.changes() == expected


def test_a_git_hook_does_not_mislead(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.write("right")
    repository.commit()
    other = Repository(tmp_path / "other")
    other.write("wrong")
    other.commit()
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.path / ".git" / "index"))
    assert repository.history() == [("create", "right")]


def test_reading_can_stop_early(repository: Repository) -> None:
    for number in range(3):
        repository.write(f"file {number}")
        repository.commit()
    stream = git_history.changes(repository.path)
    assert next(stream)["entityId"] == "file 0"
    stream.close()  # type: ignore[attr-defined]


def test_a_damaged_repository_is_an_error(repository: Repository) -> None:
    repository.write("a")
    repository.commit()
    tree = repository.git("rev-parse", "HEAD^{tree}").decode().strip()
    (repository.path / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(git_history.GitError, match="git log failed"):
        repository.changes()


def _run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = git_history.main(list(arguments))
    return code, *capsys.readouterr()


def test_the_command_line(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        repository.write(name)
    repository.commit()
    folder = str(repository.path)
    code, output, errors = _run(folder, "--project", "other", "--limit", "2", capsys=capsys)
    assert (code, errors) == (0, "")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [(line["projectId"], line["entityId"]) for line in lines] == [("other", "a"), ("other", "b")]
    assert len(_run(folder, capsys=capsys)[1].splitlines()) == 3


@pytest.mark.parametrize("option", [("--project", "a/b"), ("--project", ""), ("--limit", "0"), ("--limit", "x")])
def test_bad_options(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        git_history.main([".", *option])
    assert exit_.value.code == 2
    assert option[0] in capsys.readouterr().err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        git_history.main(["--help"])
    assert exit_.value.code == 0
    assert "example: python examples/data/git_history.py" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["no commits", "no repository", "no folder", "no git", "damaged"])
def test_an_unreadable_repository_is_one_line_and_exit_code_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    words = {
        "no commits": "no commits yet",
        "no repository": "not a git repository",
        "no folder": "no such folder",
        "no git": "git is not installed",
        "damaged": "not a git repository",
    }[case]
    if case in ("no commits", "no git", "damaged"):
        repository = Repository(folder)
        if case == "damaged":
            (repository.path / ".git" / "HEAD").write_text("nonsense")
    elif case == "no repository":
        folder.mkdir()
    if case == "no git":
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    code, output, errors = _run(str(folder), capsys=capsys)
    assert (code, output) == (2, "")
    assert re.fullmatch(rf"git_history: .*{words}.*\n", errors)


def test_the_script_exits_quietly_on_a_closed_pipe(repository: Repository, tmp_path: Path) -> None:
    for number in range(3000):
        repository.write(f"file {number}")
    repository.commit()
    command = [sys.executable, str(ROOT / "examples" / "data" / "git_history.py"), str(repository.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["cid"].endswith(":0")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141
