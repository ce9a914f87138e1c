from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sltt_core.auth.base64url import decode, encode


@given(st.binary(max_size=100))
def test_it_encodes_as_the_standard_library_without_padding(data: bytes) -> None:
    assert encode(data) == urlsafe_b64encode(data).decode().rstrip("=")
    assert decode(encode(data)) == data


@given(st.text(alphabet="ABab01+/-_=\n é", max_size=12))
def test_only_one_text_stands_for_the_same_bytes(text: str) -> None:
    try:
        data = decode(text)
    except ValueError:
        return
    assert urlsafe_b64decode(text + "==") == data
    assert encode(data) == text


@pytest.mark.parametrize(
    "text", ["A", "AAAAA", "AB", "AAB", "AA==", "AA=", "A A", "AA\n", "+A", "/A", "A.A", "\uff21A", "=", "A\0A"]
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not base64url"):
        decode(text)
