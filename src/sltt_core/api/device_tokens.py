"""`DeviceTokens`: who the sender of a device token is; and the secrets of new tokens and invitations."""

from __future__ import annotations

from _thread import allocate_lock
from os import urandom

from sltt_core.api.access import Principal
from sltt_core.auth.device_tokens import PREFIX, new_token, parse_token
from sltt_core.base.errors import StorageError, Unauthenticated
from sltt_core.base.forks import call_after_fork
from sltt_core.base.hashes import sha256
from sltt_core.base.runtime import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.auth.device_tokens import DeviceToken
    from sltt_core.base.runtime import Runtime
    from sltt_core.log.storage import BaseStorageService

REMEMBERED_SECONDS = 300.0
"""How long a token that was verified is remembered. A revocation by another process has its effect within this time."""
MAX_REMEMBERED = 1000
"""Tokens that are remembered; the one that was verified first is forgotten first."""
CODE_PREFIX = "sltti_"
"""What the code of an invitation begins with. The rest is that of a device token."""
_NO_DIGEST = bytes(32)


class DeviceTokens:
    """Verifies device tokens. Several threads may use one object."""

    def __init__(self, storage: BaseStorageService, *, runtime: Runtime = SYSTEM) -> None:
        self._storage = storage
        self._clock = runtime.clock
        self._steady_clock = runtime.steady_clock
        self._known: dict[bytes, tuple[Principal, float]] = {}
        """The principals and when they are forgotten, by the SHA-256 of the token."""
        self._lock = allocate_lock()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may hold."""
        self._lock = allocate_lock()

    def use_token(self, text: str) -> Principal:
        """Return the principal of a device token, and extend the token.

        The claims of the principal are `tokenId` and `projectId`. Raises `Unauthenticated`, with the same message and
        after the same reads, for a token that is unknown, expired or revoked and for one whose secret is wrong; and
        the errors of the storage.
        """
        try:
            token = parse_token(text)
        except ValueError:
            raise _refused() from None
        key = sha256(text.encode()).digest()
        known = self._known.get(key)
        if known is not None and self._steady_clock() < known[1]:
            return known[0]
        found = self._storage.get_token(token.id)
        matches = token.matches(_NO_DIGEST if found is None else bytes.fromhex(found.hash))
        if found is None or not matches or found.revoked_at is not None:
            raise _refused()
        try:
            self._storage.extend_token(found)
        except StorageError:
            pass  # the next use extends it
        principal = Principal(found.principal, {"tokenId": found.id, "projectId": found.project_id})
        seconds = min(REMEMBERED_SECONDS, found.expires - self._clock() / 1e9)
        self._remember(key, principal, self._steady_clock() + seconds)
        return principal

    def _remember(self, key: bytes, principal: Principal, until: float) -> None:
        with self._lock:
            self._known.pop(key, None)
            if len(self._known) >= MAX_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[key] = principal, until


def new_secret(
    kind: str, project_id: str, key: str | None, random_bytes: Callable[[int], bytes] = urandom
) -> DeviceToken:
    """Return a new secret of a kind: `token` or `invitation`.

    With an idempotency key, its id follows from the key and the project, so that the storage refuses a second one.
    """
    if key is None:
        return new_token(random_bytes)
    seed = sha256(f"{kind} {project_id} {key}".encode()).digest()[:16]
    return new_token(lambda count: seed if count == len(seed) else random_bytes(count))


def code_of(secret: DeviceToken) -> str:
    """Return the code of an invitation."""
    return CODE_PREFIX + secret.reveal().removeprefix(PREFIX)


def parse_code(text: str) -> DeviceToken:
    """Return the secret of a code. Raises `ValueError`, which contains nothing of the text, if it is not one."""
    if not text.startswith(CODE_PREFIX):
        raise ValueError("the text is not the code of an invitation: sltti_<id>_<secret><checksum>")
    return parse_token(PREFIX + text.removeprefix(CODE_PREFIX))


def _refused() -> Unauthenticated:
    return Unauthenticated("the device token is not valid")
