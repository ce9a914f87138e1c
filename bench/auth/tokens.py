"""The processor time of verifying a token, compared with PyJWT and cryptography, and what an import loads."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from functools import partial
from itertools import cycle
from time import perf_counter, process_time, time
from typing import TYPE_CHECKING, Any

from bench.support.context import BenchError
from bench.support.tables import Row, Table
from sltt_core.auth.jwks import KEY_TYPES, parse_key_set
from sltt_core.auth.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.support.context import BenchContext
    from sltt_core.auth.jwks import KeyTypes

ISSUER, AUDIENCE = "https://id.example.org/", "https://sync.example.org"
SECRET = bytes(range(32))
THEIRS = "PyJWT and cryptography"
IMPORTS = {
    THEIRS: ("jwt", "cryptography.hazmat.primitives.asymmetric.rsa", "jwt.algorithms"),
    "ours": ("sltt_core.api.bearer",),
    "ours, with cryptography": ("sltt_core.api.bearer", "sltt_core.auth.openssl"),
}


def measure(context: BenchContext) -> list[Table]:
    """Measure each algorithm: two tokens in turn, so that no verified token is remembered."""
    try:
        import jwt
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
    except ImportError as error:
        context.progress.begin(f"tokens: left out; {error}")
        return []
    private: dict[str, Any] = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "HS256": SECRET,
    }
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": int(time()) + 86_400}
    tables = []
    for algorithm, key in private.items():
        tokens = [
            jwt.encode({**claims, "jti": name}, key, algorithm=algorithm, headers={"kid": algorithm}) for name in "ab"
        ]
        public = key if isinstance(key, bytes) else key.public_key()
        decode = partial(jwt.decode, key=public, algorithms=[algorithm], audience=AUDIENCE, issuer=ISSUER)
        text = json.dumps({"keys": [_jwk(algorithm, public)]})
        remembering = _verifier(text, KEY_TYPES, 2)
        cases: dict[str, Callable[[str], object]] = {
            THEIRS: decode,
            "ours": _verifier(text, KEY_TYPES, 1).verify,
            "ours, with cryptography": _verifier(text, _fast_types(), 1).verify,
            "ours, a token that is remembered": remembering.verify,
        }
        found = context.rounds(
            {name: partial(_microseconds, case, tokens, context.size.seconds) for name, case in cases.items()}
        )
        rows = [Row(name, "µs", values, THEIRS) for name, values in found.items()]
        tables.append(Table(f"tokens-{algorithm.lower()}", f"{algorithm}: processor time of a verification", rows))
    loaded = context.rounds({name: partial(_modules, names) for name, names in IMPORTS.items()}, 1)
    rows = [Row(name, "modules", values, THEIRS) for name, values in loaded.items()]
    return [*tables, Table("tokens-imports", "Modules that the verification of tokens loads", rows)]


def _verifier(text: str, types: KeyTypes, max_cached: int) -> Verifier:
    keys = parse_key_set(text, types, secrets=True)
    if keys.reasons:
        raise BenchError(f"the key cannot be used: {keys.reasons}")
    return Verifier(ISSUER, AUDIENCE, keys, max_cached=max_cached)


def _fast_types() -> KeyTypes:
    from sltt_core.auth import openssl

    return openssl.KEY_TYPES


def _jwk(algorithm: str, public: Any) -> dict[str, str]:
    if algorithm == "HS256":
        return {"kty": "oct", "kid": algorithm, "k": _base64url(public)}
    numbers = public.public_numbers()
    names = ("n", "e") if algorithm == "RS256" else ("x", "y")
    kind = {"kty": "RSA"} if algorithm == "RS256" else {"kty": "EC", "crv": "P-256"}
    sizes = {"n": 256, "e": 3, "x": 32, "y": 32}
    return {
        **kind,
        "kid": algorithm,
        **{name: _base64url(getattr(numbers, name).to_bytes(sizes[name], "big")) for name in names},
    }


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _microseconds(verify: Callable[[str], object], tokens: list[str], seconds: float) -> float:
    """Return the processor time of a call."""
    for token in tokens:
        verify(token)
    end, done, begin = perf_counter() + seconds, 0, process_time()
    for token in cycle(tokens):
        verify(token)
        done += 1
        if perf_counter() >= end:
            break
    return (process_time() - begin) / done * 1e6


def _modules(names: tuple[str, ...]) -> float:
    """Return how many modules a fresh interpreter loads for an import."""
    program = f"import sys\nbefore = len(sys.modules)\nimport {', '.join(names)}\nprint(len(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    if run.returncode != 0:
        raise BenchError(f"an import failed: {run.stderr.strip()[-500:]}")
    return float(run.stdout)
