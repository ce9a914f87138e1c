"""Verification of device tokens: who is accepted, what is read and written, and what is remembered."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.api.access import Principal
from sltt_core.api.device_tokens import (
    MAX_REMEMBERED,
    REMEMBERED_SECONDS,
    DeviceTokens,
    code_of,
    new_secret,
    parse_code,
)
from sltt_core.auth.device_tokens import DeviceToken, new_token
from sltt_core.base.errors import StorageUnavailable, Unauthenticated
from sltt_core.base.runtime import Runtime
from sltt_core.model.credentials import EXTEND_SECONDS, TOKEN_SECONDS
from sltt_core.sqlite.storage import LocalStorageService
from tests.forks import NEEDS_FORK, in_child
from tests.sltt_core.api.client import other_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sltt_core.model.credentials import Token

NOW = 1_740_821_400


class Clock:
    """The time of day and the steady clock, in seconds."""

    def __init__(self) -> None:
        self.day = NOW
        self.steady = 0.0

    def pass_by(self, seconds: float) -> None:
        self.day += int(seconds)
        self.steady += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runtime(clock: Clock) -> Runtime:
    return Runtime(clock=lambda: clock.day * 10**9, steady_clock=lambda: clock.steady)


@pytest.fixture
def storage(tmp_path: Path, runtime: Runtime) -> Iterator[LocalStorageService]:
    with LocalStorageService(tmp_path / "log.db", runtime=runtime) as service:
        yield service


@pytest.fixture
def tokens(storage: LocalStorageService, runtime: Runtime) -> DeviceTokens:
    return DeviceTokens(storage, runtime=runtime)


def make(storage: LocalStorageService, number: int = 1, project_id: str = "p") -> DeviceToken:
    secret = new_token(Random(number).randbytes)
    storage.create_token(secret.id, secret.digest(), "editor", f"tablet {number}", project_id=project_id)
    return secret


def watch(storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reads and writes of credentials from now on."""
    calls: list[str] = []
    for name in ("_credential", "_credentials", "_replace_credential", "_change_credential"):
        method = getattr(storage, name)

        def counted(*args: Any, name: str = name, method: Any = method) -> Any:
            calls.append(name)
            return method(*args)

        monkeypatch.setattr(storage, name, counted)
    return calls


def test_a_token_names_its_principal_and_its_project(storage: LocalStorageService, tokens: DeviceTokens) -> None:
    secret = make(storage)
    make(storage, 2, "q")
    expected = Principal(f"device:{secret.id}", {"tokenId": secret.id, "projectId": "p"})
    for _ in range(2):
        assert tokens.use_token(secret.reveal()) == expected


def refusals(storage: LocalStorageService, clock: Clock) -> dict[str, str]:
    """A token for each reason to refuse one."""
    expired = make(storage, 3)
    clock.pass_by(TOKEN_SECONDS)
    revoked, good = make(storage, 1), make(storage, 2)
    storage.revoke_token(revoked.id, project_id="p")
    return {
        "unknown": new_token(lambda count: b"9" * count).reveal(),
        "expired": expired.reveal(),
        "revoked": revoked.reveal(),
        "wrong secret": other_secret(good.id).reveal(),
        "wrong checksum": good.reveal()[:-1] + ("0" if good.reveal()[-1] != "0" else "1"),
        "invitation": code_of(good),
        "empty": "",
        "jwt": "eyJhbGciOiJub25lIn0.e30.",
        "not ASCII": good.reveal()[:-1] + "é",
        "surrogate": good.reveal()[:-1] + "\ud800",
        "space": good.reveal() + " ",
        "id only": good.reveal()[:21],
    }


def test_every_refusal_is_the_same(storage: LocalStorageService, tokens: DeviceTokens, clock: Clock) -> None:
    said = set()
    for text in refusals(storage, clock).values():
        with pytest.raises(Unauthenticated) as caught:
            tokens.use_token(text)
        said.add((caught.value.message, caught.value.hint))
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(tokens)
        assert not text[22:40] or text[22:40] not in shown
    assert said == {("the device token is not valid", "")}
    assert tokens._known == {}


def test_an_unknown_token_and_a_wrong_secret_cost_the_same_reads(
    storage: LocalStorageService, tokens: DeviceTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = refusals(storage, clock)
    calls = watch(storage, monkeypatch)
    for name in ("unknown", "wrong secret", "expired", "revoked"):
        with pytest.raises(Unauthenticated):
            tokens.use_token(texts[name])
        assert calls == ["_credential"], name
        calls.clear()


def test_a_refused_token_is_not_extended(storage: LocalStorageService, tokens: DeviceTokens, clock: Clock) -> None:
    secret = make(storage)
    before = storage.get_token(secret.id)
    clock.pass_by(EXTEND_SECONDS)
    with pytest.raises(Unauthenticated):
        tokens.use_token(other_secret(secret.id).reveal())
    assert storage.get_token(secret.id) == before


def test_a_verified_token_is_remembered_for_five_minutes(
    storage: LocalStorageService, tokens: DeviceTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = make(storage)
    calls = watch(storage, monkeypatch)
    for _ in range(3):
        tokens.use_token(secret.reveal())
    assert calls == ["_credential"]
    clock.pass_by(REMEMBERED_SECONDS)
    tokens.use_token(secret.reveal())
    assert calls == ["_credential"] * 2
    assert REMEMBERED_SECONDS <= 300


def test_a_revocation_has_its_effect_within_five_minutes(
    storage: LocalStorageService, tokens: DeviceTokens, clock: Clock
) -> None:
    secret = make(storage)
    tokens.use_token(secret.reveal())
    storage.revoke_token(secret.id, project_id="p")
    clock.pass_by(REMEMBERED_SECONDS)
    with pytest.raises(Unauthenticated):
        tokens.use_token(secret.reveal())


def test_a_wrong_secret_is_refused_while_the_right_one_is_remembered(
    storage: LocalStorageService, tokens: DeviceTokens
) -> None:
    secret = make(storage)
    tokens.use_token(secret.reveal())
    with pytest.raises(Unauthenticated):
        tokens.use_token(other_secret(secret.id).reveal())


def test_a_token_in_use_never_expires_and_is_written_once_a_day(
    storage: LocalStorageService, tokens: DeviceTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = make(storage)
    calls = watch(storage, monkeypatch)
    for _ in range(3 * 24):  # three days, once an hour
        clock.pass_by(3600)
        tokens.use_token(secret.reveal())
    assert calls.count("_replace_credential") == 3
    clock.pass_by(TOKEN_SECONDS - 1)
    tokens.use_token(secret.reveal())
    assert stored(storage, secret).expires == clock.day + TOKEN_SECONDS
    clock.pass_by(TOKEN_SECONDS)
    with pytest.raises(Unauthenticated):
        tokens.use_token(secret.reveal())


def test_a_token_is_accepted_if_it_cannot_be_extended(
    storage: LocalStorageService, tokens: DeviceTokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = make(storage)
    clock.pass_by(TOKEN_SECONDS - 10)

    def fail(*_: object) -> bool:
        raise StorageUnavailable("no response")

    monkeypatch.setattr(storage, "_replace_credential", fail)
    assert tokens.use_token(secret.reveal()).id == f"device:{secret.id}"
    clock.pass_by(10)  # it is not remembered for longer than it is valid
    with pytest.raises(Unauthenticated):
        tokens.use_token(secret.reveal())


def test_a_storage_that_does_not_respond_accepts_nothing(
    storage: LocalStorageService, tokens: DeviceTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, known = make(storage), make(storage, 2)
    tokens.use_token(known.reveal())

    def fail(*_: object) -> None:
        raise StorageUnavailable("no response")

    monkeypatch.setattr(storage, "_credential", fail)
    with pytest.raises(StorageUnavailable):
        tokens.use_token(secret.reveal())
    assert tokens.use_token(known.reveal()).id == f"device:{known.id}"


def test_what_is_remembered_is_bounded_and_holds_no_token(storage: LocalStorageService, tokens: DeviceTokens) -> None:
    for number in range(MAX_REMEMBERED + 10):
        tokens._remember(number.to_bytes(32, "big"), Principal("x"), 1.0)
    secret = make(storage)
    tokens.use_token(secret.reveal())
    assert len(tokens._known) == MAX_REMEMBERED
    assert secret.reveal()[22:] not in repr(tokens._known)


def test_threads_may_share_it(storage: LocalStorageService, tokens: DeviceTokens, clock: Clock) -> None:
    secrets = [make(storage, number) for number in range(8)]
    clock.pass_by(EXTEND_SECONDS)
    texts = [secret.reveal() for secret in secrets] * 4
    with ThreadPoolExecutor(8) as threads:
        found = [principal.id for principal in threads.map(tokens.use_token, texts)]
    assert found == [f"device:{secret.id}" for secret in secrets] * 4


@NEEDS_FORK[0]
@NEEDS_FORK[1]
def test_a_lock_that_is_held_during_a_fork_does_not_block_the_child(
    storage: LocalStorageService, tokens: DeviceTokens
) -> None:
    secret = make(storage)
    with tokens._lock:
        wait = in_child(lambda: tokens.use_token(secret.reveal()))
    wait()


# Secrets


def test_a_key_leads_to_one_id_and_to_new_secrets() -> None:
    first, second = (new_secret("token", "p", "key-0123456789abcdef") for _ in range(2))
    assert first.id == second.id
    assert first.digest() != second.digest()
    ids = {
        new_secret(kind, project, key).id
        for kind in ("token", "invitation")
        for project in ("p", "q")
        for key in ("key-0123456789abcdef", "key-0123456789abcdeg", None)
    }
    assert len(ids) == 12


def test_a_code_is_read_again() -> None:
    secret = new_secret("invitation", "p", None)
    code = code_of(secret)
    assert code.startswith(f"sltti_{secret.id}_")
    again = parse_code(code)
    assert (again.id, again.digest()) == (secret.id, secret.digest())
    for text in (secret.reveal(), code[:-1], code + "0", code.replace("sltti_", "sltti__"), "sltti_", "", "i" + code):
        with pytest.raises(ValueError, match=r"is not|checksum") as caught:
            parse_code(text)
        assert code[22:40] not in str(caught.value)


def stored(storage: LocalStorageService, secret: DeviceToken) -> Token:
    found = storage.get_token(secret.id)
    assert found is not None
    return found
