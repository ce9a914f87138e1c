from __future__ import annotations

import hashlib
import importlib
import sys

import pytest

from sltt_core.base import hashes


def test_it_returns_the_same_digest_as_hashlib() -> None:
    assert hashes.sha256 is hashlib.sha256


def test_hashlib_is_used_without_the_c_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_hashlib", None)
    monkeypatch.delitem(sys.modules, "sltt_core.base.hashes")
    other = importlib.import_module("sltt_core.base.hashes")
    assert other.sha256(b"").hexdigest() == hashlib.sha256(b"").hexdigest()
    assert other.hmac_digest(b"key", b"", "sha256") == hashes.hmac_digest(b"key", b"", "sha256")
