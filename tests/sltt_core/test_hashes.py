from __future__ import annotations

import hashlib
import importlib
import sys

import pytest

from sltt_core import hashes


def test_they_are_those_of_hashlib() -> None:
    assert hashes.sha256 is hashlib.sha256
    assert hashes.blake2b is hashlib.blake2b


@pytest.mark.parametrize("missing", ["_hashlib", "_blake2"])
def test_without_the_c_modules_hashlib_finds_others(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "sltt_core.hashes")
    other = importlib.import_module("sltt_core.hashes")
    assert other.sha256(b"").hexdigest() == hashlib.sha256(b"").hexdigest()
    assert other.blake2b(b"", digest_size=12).hexdigest() == hashlib.blake2b(b"", digest_size=12).hexdigest()
