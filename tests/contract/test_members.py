"""Members: grants are changes of the log, and who may do what follows from them in the same atomic write."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.base.errors import InvalidInput, KeyReused, LastOwner, LogDamaged, ProjectExists, ReservedType
from sltt_core.model.chain import GENESIS, check_links
from sltt_core.model.grants import MEMBER, NO_MEMBERS, ROLES, Member, Members
from tests.contract.logs import Log, SqliteLog, batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService

KEY = "key-0123456789abcdef"


def roles(members: Members) -> dict[str, str]:
    return {principal: member.role for principal, member in members.roles.items()}


def check_derived(storage: BaseStorageService, project_id: str = "p") -> None:
    """The members are those that follow from the log, and each member's list of projects has the project."""
    changes = everything(storage, project_id)
    check_links(GENESIS, changes)
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
    members = storage.get_members(project_id=project_id)
    assert members == NO_MEMBERS.after(changes)
    for principal, member in members.roles.items():
        assert (project_id in storage.get_projects_of(principal).projects) == (member.role != "none")


def test_a_grant_is_a_change_of_the_log(direct_storage: BaseStorageService) -> None:
    storage = direct_storage
    storage.create_change(new())
    assert storage.get_members(project_id="p") == NO_MEMBERS
    members = storage.set_role("ada", "owner", project_id="p", granted_by="root")
    assert members == storage.get_members(project_id="p") == Members({"ada": Member("owner", 2)})
    storage.set_role("bob", "viewer", project_id="p", granted_by="ada")
    storage.set_role("bob", "none", project_id="p", granted_by="ada")
    assert roles(storage.get_members(project_id="p")) == {"ada": "owner", "bob": "none"}
    grants = everything(storage)[1:]
    assert [(c.entity_type, c.entity_id, c.operation, json.loads(c.data_json), c.change_by) for c in grants] == [
        (MEMBER, "ada", "update", {"role": "owner"}, "root"),
        (MEMBER, "bob", "update", {"role": "viewer"}, "ada"),
        (MEMBER, "bob", "delete", {"role": "none"}, "ada"),
    ]
    assert storage.get_entity_type_stats(project_id="p") == {"document": 1, MEMBER: 3}
    assert not list(storage.verify(project_id="p"))
    check_derived(storage)


def test_a_role_that_a_principal_has_is_not_granted_again(direct_storage: BaseStorageService) -> None:
    direct_storage.set_role("ada", "owner", project_id="p")
    direct_storage.set_role("ada", "owner", project_id="p")
    direct_storage.set_role("nobody", "none", project_id="p")
    assert direct_storage.get_head(project_id="p").seq == 1


def test_the_last_owner_stays(direct_storage: BaseStorageService) -> None:
    storage = direct_storage
    storage.set_role("ada", "owner", project_id="p")
    for role in ("editor", "viewer", "none"):
        with pytest.raises(LastOwner, match="ada is the only owner"):
            storage.set_role("ada", role, project_id="p")
    storage.set_role("bob", "owner", project_id="p")
    storage.set_role("ada", "none", project_id="p")
    with pytest.raises(LastOwner, match="bob"):
        storage.set_role("bob", "none", project_id="p")
    check_derived(storage)


def test_two_last_owners_who_remove_each_other_leave_one(direct: Log) -> None:
    storages = direct.open(), direct.open()
    for attempt in range(5):
        project = f"p{attempt}"
        for owner in ("ada", "bob"):
            storages[0].set_role(owner, "owner", project_id=project)

        def remove(storage: BaseStorageService, owner: str, project: str = project) -> bool:
            try:
                storage.set_role(owner, "none", project_id=project)
            except LastOwner:
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            removed = list(threads.map(remove, storages, ("bob", "ada")))
        assert sorted(removed) == [False, True]
        assert storages[0].get_members(project_id=project).owners == 1
        check_derived(storages[0], project)


def test_grants_and_appends_at_once_keep_both(direct: Log) -> None:
    storages = direct.open(), direct.open()
    storages[0].set_role("ada", "owner", project_id="p")

    def work(place: int) -> None:
        for number in range(6):
            if place % 2:
                storages[place // 2].set_role(f"m{place}-{number}", "editor", project_id="p")
            else:
                storages[place // 2].create_changes(batch(3))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert storages[0].get_head(project_id="p").seq == 1 + 12 + 36
    check_derived(storages[0])


def test_reserved_entity_types_are_refused(direct_storage: BaseStorageService) -> None:
    for name in (MEMBER, "sltt.x", "sltt."):
        with pytest.raises(ReservedType, match=r"changes\[1\]\.entity_type: entity types that begin with sltt\."):
            direct_storage.create_changes([new(), new(entity_type=name)])
    assert direct_storage.get_head(project_id="p").seq == 0
    assert direct_storage.create_change(new(entity_type="slttx")).seq == 1


def test_reserved_entity_types_do_not_count_towards_the_limit(direct_storage: BaseStorageService) -> None:
    direct_storage.create_changes([new(entity_type=f"t{number}") for number in range(200)])
    direct_storage.set_role("ada", "owner", project_id="p")
    check_derived(direct_storage)


# A new project and its owner


def test_the_principal_who_creates_a_project_owns_it(direct_storage: BaseStorageService) -> None:
    appended = direct_storage.create_changes(batch(3), KEY, owners={"p": "ada"})
    assert appended.seqs == (2, 3, 4)
    assert not appended.replayed
    assert direct_storage.get_members(project_id="p") == Members({"ada": Member("owner", 1)})
    assert direct_storage.get_projects_of("ada").projects == ("p",)
    again = direct_storage.create_changes(batch(3), KEY)
    assert (again.seqs, again.replayed) == ((2, 3, 4), True)
    with pytest.raises(KeyReused):
        direct_storage.create_changes(batch(2), KEY)
    assert not list(direct_storage.verify(project_id="p"))
    check_derived(direct_storage)


def test_a_large_batch_creates_a_project_too(direct_storage: BaseStorageService) -> None:
    appended = direct_storage.create_changes(batch(300), KEY, owners={"p": "ada"})
    assert appended.seqs == tuple(range(2, 302))
    assert direct_storage.create_changes(batch(300), KEY).seqs == appended.seqs
    check_derived(direct_storage)


def test_a_project_that_exists_gets_no_owner(direct_storage: BaseStorageService) -> None:
    direct_storage.create_change(new())
    with pytest.raises(ProjectExists):
        direct_storage.create_changes(batch(2), KEY, owners={"p": "ada"})
    assert direct_storage.get_members(project_id="p") == NO_MEMBERS
    assert direct_storage.get_head(project_id="p").seq == 1
    direct_storage.create_changes(batch(2), KEY)


def test_one_of_many_who_create_a_project_at_once_owns_it(direct: Log) -> None:
    storages = [direct.open(), direct.open()]

    def create(number: int) -> int:
        try:
            return direct_create(storages[number % 2], number)
        except ProjectExists:
            return 0

    def direct_create(storage: BaseStorageService, number: int) -> int:
        return len(storage.create_changes(batch(2), f"key-{number:0>16}", owners={"p": f"o{number}"}).seqs)

    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(create, range(8)))
    assert sorted(created) == [0] * 7 + [2]
    owner = f"o{created.index(2)}"
    assert storages[0].get_members(project_id="p") == Members({owner: Member("owner", 1)})
    assert storages[0].get_head(project_id="p").seq == 3
    check_derived(storages[0])


# Lists of projects


def test_the_projects_of_a_principal_come_in_pages(direct_storage: BaseStorageService) -> None:
    for name in ("c", "a", "d", "b"):
        direct_storage.set_role("ada", "owner", project_id=name)
        direct_storage.set_role("bob", "editor", project_id=name)
    direct_storage.set_role("bob", "none", project_id="b")
    first = direct_storage.get_projects_of("bob", limit=2)
    assert (first.projects, first.cursor) == (("a", "c"), "c")
    second = direct_storage.get_projects_of("bob", first.cursor, limit=2)
    assert (second.projects, second.cursor) == (("d",), None)
    assert direct_storage.get_projects_of("ada").projects == ("a", "b", "c", "d")
    assert direct_storage.get_projects_of("nobody").projects == ()


def test_a_bound_service_lists_at_most_its_own_project(direct: Log, direct_storage: BaseStorageService) -> None:
    for name in ("a", "b", "c"):
        direct_storage.set_role("ada", "owner", project_id=name)
        direct_storage.set_role("bob", "editor", project_id=name)
    direct_storage.set_role("bob", "none", project_id="b")
    bound = direct.open("b")
    page = bound.get_projects_of("ada")
    assert (page.projects, page.cursor) == (("b",), None)
    assert bound.get_projects_of("ada", "a").projects == ("b",)
    assert bound.get_projects_of("ada", "b").projects == ()
    for principal in ("bob", "nobody"):
        assert bound.get_projects_of(principal).projects == ()


HOSTILE = [
    "SEQUENCE#p",
    "p#ada",
    "#",
    "##",
    "ada#",
    "PRINCIPAL#ada",
    "ada' OR '1'='1",
    "🤟",
    "ada/../bob",
    "\u202eada",
    "auth0|5f7c8ec7c33c6c004bbafe82",
    "CN=Ada, O=Team",
    "x" * 255,
    "語" * 255,
    "%00",
    "{}",
    "true",
    "0",
    "members",
    "version",
]


def test_no_principal_reaches_the_roles_of_another(direct_storage: BaseStorageService) -> None:
    principals = ["ada", *HOSTILE]
    for place, principal in enumerate(principals):
        direct_storage.set_role(principal, ("viewer", "editor", "owner")[place % 3], project_id="p")
        direct_storage.set_role(principal, "owner", project_id=f"own-{place}")
    expected = {principal: ROLES[1 + place % 3] for place, principal in enumerate(principals)}
    assert roles(direct_storage.get_members(project_id="p")) == expected
    for place, principal in enumerate(principals):
        assert direct_storage.get_projects_of(principal).projects == (f"own-{place}", "p")
        assert roles(direct_storage.get_members(project_id=f"own-{place}")) == {principal: "owner"}
    check_derived(direct_storage)


@pytest.mark.parametrize("principal", ["", "x" * 256, "a\nb", "a\x00", "\ud800"])
def test_principals_that_are_not_valid_are_refused(direct_storage: BaseStorageService, principal: str) -> None:
    with pytest.raises(InvalidInput, match=r"^principal "):
        direct_storage.set_role(principal, "viewer", project_id="p")
    with pytest.raises(InvalidInput, match=r"^principal "):
        direct_storage.get_projects_of(principal)
    with pytest.raises(InvalidInput, match=r"^owners "):
        direct_storage.create_changes(batch(1), owners={"p": principal})
    assert direct_storage.get_head(project_id="p").seq == 0


def test_a_role_that_does_not_exist_is_refused(direct_storage: BaseStorageService) -> None:
    with pytest.raises(InvalidInput, match=r"^role is not one of none, viewer, editor, owner"):
        direct_storage.set_role("ada", "admin", project_id="p")  # type: ignore[arg-type]


# Restored logs


@pytest.fixture
def target(direct: Log, tmp_path: Path) -> Iterator[BaseStorageService]:
    folder = tmp_path / "target"
    folder.mkdir()
    log = type(direct)(folder)
    yield log.open()
    log.close()


def test_a_restored_log_has_the_same_members(direct_storage: BaseStorageService, target: BaseStorageService) -> None:
    direct_storage.create_changes(batch(60), owners={"p": "ada"})
    for number in range(60):
        direct_storage.set_role(f"m{number}", "editor", project_id="p")
    for number in range(0, 60, 2):
        direct_storage.set_role(f"m{number}", "none", project_id="p")
    direct_storage.create_changes(batch(30))
    target.restore_changes(everything(direct_storage))
    assert target.get_members(project_id="p") == direct_storage.get_members(project_id="p")
    check_derived(target)
    target.set_role("late", "viewer", project_id="p")
    assert not list(target.verify(project_id="p"))


# Damage


DAMAGES = [
    "lost",
    "another role",
    "another since",
    "one too many",
    "one missing",
    "unreadable",
    "orphan",
    "orphans",
    "former member listed",
    "member not listed",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_recorded_members_that_differ_from_the_log_are_found_and_recorded_again(
    direct: Log, damage: str, direct_storage: BaseStorageService
) -> None:
    storage = direct_storage
    storage.create_changes(batch(3), owners={"p": "ada"})
    for number in range(120):
        storage.set_role(f"m{number}", "editor", project_id="p")
    storage.set_role("m7", "none", project_id="p")
    expected = storage.get_members(project_id="p")
    direct.damage_members("p", damage)
    storage.set_role("someone", "owner", project_id="p2")
    assert {finding.kind for finding in storage.verify(project_id="p")} == {"members"}
    assert not list(storage.verify(project_id="p2"))
    report = storage.repair(project_id="p", dry_run=False)
    assert "recorded the members again, as the grants in the log say" in report.done
    assert storage.get_members(project_id="p") == expected
    check_derived(storage)
    assert not list(storage.verify(project_id="p"))
    storage.set_role("late", "viewer", project_id="p")
    check_derived(storage)
    for stranger in ("eve", "eve#1", "o17"):
        assert storage.get_projects_of(stranger).projects == ()
    assert storage.get_projects_of("someone").projects == ("p2",)


@pytest.mark.parametrize("damage", ["orphan", "orphans", "one too many"])
@pytest.mark.parametrize("changes", [0, 3])
def test_members_of_a_project_without_grants_are_found(
    direct: Log, direct_storage: BaseStorageService, damage: str, changes: int
) -> None:
    storage = direct_storage
    storage.set_role("ada", "owner", project_id="q")
    if changes:
        storage.create_changes(batch(changes))
    direct.damage_members("p", damage)
    assert {finding.kind for finding in storage.verify(project_id="p")} == {"members"}
    assert storage.repair(project_id="p").done == ()
    storage.repair(project_id="p", dry_run=False)
    assert storage.get_members(project_id="p") == NO_MEMBERS
    assert storage.get_projects_of("eve#1").projects == storage.get_projects_of("o17").projects == ()
    assert not list(storage.verify(project_id="p"))
    assert not list(storage.verify(project_id="q"))
    storage.set_role("ada", "owner", project_id="p")
    check_derived(storage)
    assert storage.get_projects_of("ada").projects == ("p", "q")


def test_the_members_of_a_log_that_lost_a_grant_are_those_of_the_repaired_log(
    direct: Log, direct_storage: BaseStorageService
) -> None:
    storage = direct_storage
    storage.create_changes(batch(3), owners={"p": "ada"})
    storage.set_role("bob", "editor", project_id="p")
    storage.set_role("cleo", "editor", project_id="p")
    direct.lose("p", 5)
    kinds = {finding.kind for finding in storage.verify(project_id="p")}
    assert "hole" in kinds
    assert "members" not in kinds, "nobody knows what the missing change was"
    storage.repair(project_id="p", dry_run=False)
    assert not list(storage.verify(project_id="p"))
    assert roles(storage.get_members(project_id="p")) == {"ada": "owner", "cleo": "editor"}
    check_derived(storage)
    assert storage.get_projects_of("bob").projects == ()


def test_members_of_a_log_without_grants_are_removed(direct: Log, direct_storage: BaseStorageService) -> None:
    storage = direct_storage
    storage.create_changes(batch(3))
    direct.damage_members("p", "one too many")
    assert [finding.kind for finding in storage.verify(project_id="p")] == ["members"]
    storage.repair(project_id="p", dry_run=False)
    assert storage.get_members(project_id="p") == NO_MEMBERS
    storage.set_role("ada", "owner", project_id="p")
    check_derived(storage)


WRITES: dict[str, Callable[[BaseStorageService], object]] = {
    "grant": lambda storage: storage.set_role("bob", "editor", project_id="p"),
    "revocation": lambda storage: storage.set_role("eve", "none", project_id="p"),
    "token": lambda storage: storage.create_token("A" * 16, bytes(32), "editor", "tablet", project_id="p"),
    "accepted invitation": lambda storage: storage.accept_invitation("B" * 16, "bob"),
    "append": lambda storage: storage.create_change(new()),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_log_that_contradicts_itself_is_damaged_and_not_busy(direct: Log, write: str) -> None:
    """A grant was tried again until its time limit, and refused as if other writers were faster."""
    storage = direct.open()
    storage.create_changes(batch(3), owners={"p": "ada"})
    storage.set_role("eve", "editor", project_id="p")
    storage.create_invitation("B" * 16, bytes(32), "editor", project_id="p")
    direct.rewind(everything(storage)[2])
    before = storage.get_members(project_id="p")
    with pytest.raises(LogDamaged):
        WRITES[write](direct.open())
    assert storage.get_members(project_id="p") == before
    assert storage.get_token("A" * 16) is None
    storage.repair(project_id="p", dry_run=False)
    WRITES[write](direct.open())
    check_derived(direct.open())


def test_a_restore_into_a_log_that_contradicts_itself_is_damaged(direct: Log, target: BaseStorageService) -> None:
    source = direct.open()
    source.create_changes(batch(3), owners={"p": "ada"})
    source.set_role("eve", "editor", project_id="p")
    changes = everything(source)
    direct.rewind(changes[2])
    with pytest.raises(LogDamaged):
        direct.open().restore_changes(changes[3:])


def test_verify_reports_nothing_while_roles_are_granted(direct: Log) -> None:
    storage, other = direct.open(), direct.open()
    storage.set_role("ada", "owner", project_id="p")
    done = Event()

    def grant() -> None:
        for number in range(30):
            other.set_role(f"m{number}", "editor", project_id="p")
        done.set()

    with ThreadPoolExecutor(1) as threads:
        granting = threads.submit(grant)
        while not done.is_set() and not granting.done():
            assert not list(storage.verify(project_id="p"))
        granting.result()


STEPS = st.lists(
    st.tuples(st.sampled_from(["ada", "bob", "cleo"]), st.sampled_from(ROLES), st.sampled_from(["p", "q"])),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=40, deadline=None)
def test_the_members_are_those_of_a_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    expected: dict[str, dict[str, str]] = {"p": {}, "q": {}}
    with SqliteLog(tmp_path_factory.mktemp("log")).make() as storage:
        for principal, role, project in steps:
            mine = expected[project]
            last = mine.get(principal) == "owner" and list(mine.values()).count("owner") == 1
            if last and role != "owner":
                with pytest.raises(LastOwner):
                    storage.set_role(principal, role, project_id=project)  # type: ignore[arg-type]
                continue
            storage.set_role(principal, role, project_id=project)  # type: ignore[arg-type]
            if role != "none" or principal in mine:
                mine[principal] = role
        for project, mine in expected.items():
            assert roles(storage.get_members(project_id=project)) == mine
            check_derived(storage, project)
