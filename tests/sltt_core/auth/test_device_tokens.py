from __future__ import annotations

import hashlib
import os
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sltt_core.auth.device_tokens import DeviceToken, new_token, parse_token

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = re.compile(r"sltt_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}")
"""What a scanner for leaked secrets looks for."""


def made(seed: int = 1) -> DeviceToken:
    return new_token(lambda count: seed.to_bytes(count, "big"))


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
def test_a_token_is_read_as_it_was_created(first: bytes, second: bytes) -> None:
    created = new_token(lambda count: {16: first, 32: second}[count])
    text = created.reveal()
    assert FORM.fullmatch(text)
    read = parse_token(text)
    assert (read.id, read.reveal(), read.digest()) == (created.id, text, created.digest())


def test_the_secret_has_256_bits_and_no_two_tokens_are_the_same() -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    texts = {new_token(random_bytes).reveal() for _ in range(100)}
    assert len(texts) == len({text.split("_")[1] for text in texts}) == 100
    assert set(asked) == {16, 32}
    first, last = new_token(lambda count: bytes(count)), new_token(lambda count: b"\xff" * count)
    assert first.reveal()[22:65] == "0" * 43
    assert int_of(last.reveal()[22:65]) == 2**256 - 1
    assert int_of(last.id) == (2**128 - 1) % 62**16


def int_of(text: str) -> int:
    value = 0
    for digit in text:
        value = value * 62 + DIGITS.index(digit)
    return value


def test_the_checksum_is_that_of_github() -> None:
    """A CRC-32 in six digits of base62, with zeros in front."""
    for seed in range(200):
        text = made(seed).reveal()
        assert int_of(text[-6:]) == zlib.crc32(text[:-6].encode())


def test_only_the_hash_of_the_secret_is_stored_and_compared() -> None:
    token = made()
    stored = hashlib.sha256(token.reveal()[22:65].encode()).digest()
    assert token.digest() == stored
    assert token.matches(stored)
    assert not token.matches(made(2).digest())
    assert not token.matches(b"")


def test_digests_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return True

    monkeypatch.setattr("sltt_core.auth.device_tokens.equal_secrets", compare)
    token = made()
    assert token.matches(b"stored")
    assert compared == [(token.digest(), b"stored")]


def test_every_typing_mistake_is_noticed() -> None:
    text = made(77).reveal()
    for place in range(len(text)):
        other = DIGITS[(DIGITS.index(text[place]) + 1) % 62] if text[place] in DIGITS else "x"
        with pytest.raises(ValueError, match="device token"):
            parse_token(text[:place] + other + text[place + 1 :])
        with pytest.raises(ValueError, match="device token"):
            parse_token(text[:place] + text[place + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sltt_",
        "sltt__",
        "sltt_a_b",
        made().reveal() + "0",
        made().reveal() + "\n",
        " " + made().reveal(),
        made().reveal().replace("sltt_", "SLTT_"),
        made().reveal().replace("sltt_", "ghp_"),
        "sltt_" + made().reveal(),
        made().reveal()[5:],
        made().reveal().replace("_", "-"),
        "sltt_" + "é" * 16 + "_" + "0" * 49,
        "sltt_" + "0" * 16 + "_" + "\uff10" * 49,
        "sltt_" + "0" * 16 + "_" + "0" * 49,
    ],
)
def test_another_text_is_not_a_token(text: str) -> None:
    with pytest.raises(ValueError, match="device token") as caught:
        parse_token(text)
    assert len(text) < 20 or text not in str(caught.value)


def with_checksum(body: str) -> str:
    """A text with the checksum that it has as a token."""
    number = zlib.crc32(body.encode())
    return body + "".join(DIGITS[number // 62**place % 62] for place in reversed(range(6)))


@pytest.mark.parametrize(
    ("prefix", "token_id", "secret"),
    [
        ("", "0" * 16, "0" * 43),
        ("SLTT_", "0" * 16, "0" * 43),
        ("sltt_", "0" * 15, "0" * 43),
        ("sltt_", "0" * 17, "0" * 43),
        ("sltt_", "0" * 16, "0" * 42),
        ("sltt_", "0" * 16, "0" * 44),
        ("sltt_", "0" * 15, "0" * 44),
        ("sltt_", "0" * 15 + "-", "0" * 43),
        ("sltt_", "0" * 16, "_" + "0" * 42),
        ("sltt_", "é" * 16, "0" * 43),
    ],
)
def test_a_right_checksum_does_not_make_a_token_of_another_form(prefix: str, token_id: str, secret: str) -> None:
    with pytest.raises(ValueError, match=r"^the text is not a device token: sltt_<id>_<secret><checksum>$"):
        parse_token(with_checksum(f"{prefix}{token_id}_{secret}"))
    assert parse_token(with_checksum(f"sltt_{'0' * 16}_{'0' * 43}")).id == "0" * 16


def test_a_wrong_checksum_is_named() -> None:
    text = with_checksum(f"sltt_{'0' * 16}_{'0' * 43}")
    with pytest.raises(ValueError, match=r"^the checksum of the device token is wrong: the text was altered or cut$"):
        parse_token(text[:-1] + "0")


@given(st.text())
def test_any_text_is_a_token_or_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="device token"):
        parse_token(f"sltt_{text}")


def test_the_representation_has_no_secret() -> None:
    token = made()
    assert repr(token) == f"DeviceToken('{token.id}')"
    assert token.reveal()[22:] not in f"{token} {token!r}"
