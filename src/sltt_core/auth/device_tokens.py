"""The format of device tokens: `sltt_<id>_<secret><checksum>`. They are not stored here.

The id is public and finds the token's record. The secret has 256 bits; only its SHA-256 is stored. The checksum is the
CRC-32 of everything before it, so that a scanner for leaked secrets recognises a token without asking a server. Prefix,
underscore and a checksum of six base62 digits are as in GitHub's tokens (https://github.blog/engineering/
platform-security/behind-githubs-new-authentication-token-formats/, 2021).
"""

from __future__ import annotations

from binascii import crc32

from sltt_core.auth.secret_keys import equal_secrets
from sltt_core.base.hashes import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "sltt_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID, _SECRET, _CHECKSUM = 16, 43, 6  # 62**43 is a little more than 2**256


class DeviceToken:
    """A token. Its `repr` has its id only."""

    __slots__ = ("_text", "id")

    def __init__(self, token_id: str, text: str) -> None:
        """`parse` and `new_token` create tokens."""
        self.id = token_id
        """16 characters of `A-Z a-z 0-9`."""
        self._text = text

    def reveal(self) -> str:
        """Return the token, which its owner is shown once."""
        return self._text

    def digest(self) -> bytes:
        """Return the SHA-256 of the secret, to be stored."""
        return sha256(self._text[-_SECRET - _CHECKSUM : -_CHECKSUM].encode()).digest()

    def matches(self, digest: bytes) -> bool:
        """Return whether a stored digest is of this token's secret; takes the same time wherever they differ."""
        return equal_secrets(self.digest(), digest)

    def __repr__(self) -> str:
        return f"DeviceToken({self.id!r})"


def new_token(random_bytes: Callable[[int], bytes]) -> DeviceToken:
    """Create a token. `random_bytes` returns so many unpredictable bytes, as `os.urandom` does."""
    token_id = _base62(int.from_bytes(random_bytes(16), "big") % 62**_ID, _ID)
    body = f"{PREFIX}{token_id}_{_base62(int.from_bytes(random_bytes(32), 'big'), _SECRET)}"
    return DeviceToken(token_id, body + _checksum(body))


def parse_token(text: str) -> DeviceToken:
    """Return the token of a text. Raises `ValueError`, which contains nothing of the text, if it is not one."""
    token_id, separator, rest = text.removeprefix(PREFIX).partition("_")
    if (
        not text.startswith(PREFIX)
        or not separator
        or (len(token_id), len(rest)) != (_ID, _SECRET + _CHECKSUM)
        or (token_id + rest).strip(_DIGITS)
    ):
        raise ValueError("the text is not a device token: sltt_<id>_<secret><checksum>")
    if not equal_secrets(text[-_CHECKSUM:].encode(), _checksum(text[:-_CHECKSUM]).encode()):
        raise ValueError("the checksum of the device token is wrong: the text was altered or cut")
    return DeviceToken(token_id, text)


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode()), _CHECKSUM)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
