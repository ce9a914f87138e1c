"""`BearerAuthenticator`: bearer tokens in the header `Authorization` (RFC 6750), and how clients learn what to send.

This module and what it imports is loaded only where the settings name an issuer of tokens.
"""

from __future__ import annotations

import os

from sltt_core.api.access import Authenticator, Principal
from sltt_core.auth.device_tokens import PREFIX
from sltt_core.auth.jwks import KEY_TYPES, parse_key_set
from sltt_core.auth.jws import InvalidToken
from sltt_core.auth.key_sources import RemoteKeys, is_loopback, parse_key_url
from sltt_core.auth.verifier import Verifier
from sltt_core.base.errors import InvalidInput, SlttError, Unauthenticated
from sltt_core.base.runtime import SYSTEM
from sltt_core.model.grants import check_issued_principal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sltt_core.api.device_tokens import DeviceTokens
    from sltt_core.auth.jwks import KeySet, KeyTypes
    from sltt_core.base.runtime import Runtime
    from sltt_core.log.storage import BaseStorageService

METADATA_PATH = "/.well-known/oauth-protected-resource"
_TOKEN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
_HOST = "abcdefghijklmnopqrstuvwxyz0123456789-._:[]"
_REQUIRED = ("AUTH_ISSUER", "AUTH_AUDIENCE", "AUTH_JWKS")


class BearerAuthenticator(Authenticator):
    """Accepts the tokens of an issuer, and device tokens. It reads them from the header `Authorization` only."""

    def __init__(
        self, verifier: Verifier | None, resource: str | None = None, device_tokens: DeviceTokens | None = None
    ) -> None:
        """`verifier` verifies the tokens of an issuer; `device_tokens` those of devices. `None` refuses all of a kind.

        `resource` is the public URL of the API; by default, it is the URL that a request was sent to. The scheme of
        that is taken to be `https`, unless the host is this machine.
        """
        self._verifier = verifier
        self._resource = resource
        self._device_tokens = device_tokens

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Return the principal whose token the headers have.

        Raises `Unauthenticated` without a token or with a bad one, `InvalidInput` for a header that is not of the form
        `Bearer TOKEN` (RFC 6750, section 3.1), and `IssuerUnavailable`.
        """
        given = headers.get("authorization", "").strip(" \t")
        scheme, _, rest = given.partition(" ")
        if scheme.lower() != "bearer":
            raise self._challenged(
                Unauthenticated("there is no bearer token", hint="Send the header Authorization: Bearer TOKEN."),
                headers,
            )
        token = rest.strip(" ")
        characters = token.rstrip("=")
        if not characters or characters.strip(_TOKEN):
            raise self._challenged(
                InvalidInput(
                    "the header Authorization is not valid: Bearer, a space and one token", field="Authorization"
                ),
                headers,
                ("error", "invalid_request"),
            )
        try:
            return self._principal_of(token)
        except Unauthenticated as error:
            raise self._challenged(
                error, headers, ("error", "invalid_token"), ("error_description", error.message)
            ) from None

    def _principal_of(self, token: str) -> Principal:
        if self._device_tokens is not None and token.startswith(PREFIX):
            return self._device_tokens.use_token(token)
        if self._verifier is None:
            raise Unauthenticated("the token is not a device token")
        try:
            identity = self._verifier.verify(token)
        except InvalidToken as error:
            raise Unauthenticated(str(error), hint="Get a new token from the issuer.") from None
        try:
            return Principal(check_issued_principal(identity.subject), identity.claims)
        except ValueError as error:
            raise Unauthenticated(f"sub {error}") from None

    def metadata(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the metadata (RFC 9728, section 2); raises `InvalidInput` if the API's URL is not known."""
        resource = self._url(headers)
        if resource is None:
            raise InvalidInput("the header Host is missing or not valid", field="Host")
        issuer = "" if self._verifier is None else self._verifier.issuer
        servers = {"authorization_servers": [issuer]} if issuer.startswith("https://") else {}
        return {"resource": resource, **servers, "bearer_methods_supported": ["header"]}

    def _url(self, headers: Mapping[str, str]) -> str | None:
        """Return the URL of the API: the configured one, or the one that the request was sent to."""
        if self._resource is not None:
            return self._resource
        host = headers.get("host", "").lower()
        if not host or host.strip(_HOST) or len(host) > 255:
            return None
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return f"http://{host}" if is_loopback(name) else f"https://{host}"

    def _challenged(self, error: SlttError, headers: Mapping[str, str], *parameters: tuple[str, str]) -> SlttError:
        """Return the error with its `WWW-Authenticate` (RFC 6750, section 3; RFC 9728, section 5.1).

        A request without a credential gets no error code. The texts contain no quotes.
        """
        resource = self._url(headers)
        found = [("realm", "sltt"), *parameters]
        if resource is not None:
            found.append(("resource_metadata", f"{resource}{METADATA_PATH}"))
        error.challenge = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in found)
        return error


def authenticator_from_environment(
    environ: Mapping[str, str] = os.environ,
    *,
    storage: BaseStorageService | None = None,
    runtime: Runtime = SYSTEM,
    fast: bool = False,
) -> Authenticator | None:
    """Return the authenticator that the settings describe: AUTH_… and ACCESS_CONTROL. `None` if they describe none.

    The tokens of the devices in `storage` are accepted unless ACCESS_CONTROL is `none`. With `fast`, the library
    `cryptography` verifies signatures if it is installed. Raises `InvalidInput`, with the name of the setting, for one
    that is missing or not valid. The error contains nothing of a key.
    """
    values = {name: environ.get(name, "").strip() for name in (*_REQUIRED, "AUTH_RESOURCE")}
    control = environ.get("ACCESS_CONTROL")
    if not any(values.values()) and control != "roles":
        return None
    device_tokens = None
    if storage is not None and control != "none":
        from sltt_core.api.device_tokens import DeviceTokens

        device_tokens = DeviceTokens(storage, runtime=runtime)
    alone = device_tokens is not None and control == "roles" and not any(values[name] for name in _REQUIRED)
    for name in () if alone else _REQUIRED:
        if not values[name]:
            given = ", ".join(name for name, value in values.items() if value)
            raise InvalidInput(
                f"the setting {name} is missing, but {given} is set",
                field=name,
                hint="Set AUTH_ISSUER, AUTH_AUDIENCE and AUTH_JWKS, or none of them.",
            )
    name, resource = "AUTH_JWKS", values["AUTH_RESOURCE"].rstrip("/")
    try:
        keys = None if alone else _keys(values[name], _key_types(fast), runtime)
        name = "AUTH_RESOURCE"
        if resource and (parse_key_url(resource) and any(c in resource for c in '"\\?')):
            raise ValueError("is not a URL without a query")
    except ValueError as error:
        raise InvalidInput(f"the setting {name} {error}", field=name) from None
    verifier = None
    if keys is not None:
        verifier = Verifier(values["AUTH_ISSUER"], values["AUTH_AUDIENCE"], keys, runtime=runtime)
    return BearerAuthenticator(verifier, resource or None, device_tokens)


def _keys(text: str, types: KeyTypes, runtime: Runtime) -> KeySet | RemoteKeys:
    """Return the keys of a key set in JSON, or of one at a URL."""
    if not text.startswith("{"):
        return RemoteKeys(text, types, runtime)
    keys = parse_key_set(text, types, secrets=True)
    if not len(keys):
        raise ValueError("has no key that can be used: " + ("; ".join(keys.reasons) or "it is empty"))
    return keys


def _key_types(fast: bool) -> KeyTypes:
    if fast:
        try:
            from sltt_core.auth import openssl
        except ImportError:  # `cryptography` is not installed
            pass
        else:
            return openssl.KEY_TYPES
    return KEY_TYPES
