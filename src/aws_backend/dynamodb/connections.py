"""How AWS is reached: endpoint, certificates and proxy, as the environment and the profile define them.

Only a process that may have such settings imports this module (`credentials.connection_is_configured`). A setting is
used, or refused by name. Sources: AWS SDKs and Tools Reference Guide, "Service-specific endpoints", "Dual-stack and
FIPS endpoints" and "General configuration settings"; for what they leave open, botocore 1.44 (`configprovider.py`,
`httpsession.py`).
"""

from __future__ import annotations

import os

from aws_backend.dynamodb.client import default_endpoint
from aws_backend.dynamodb.credential_documents import (
    expand,
    on_lambda,
    read_text,
    reason_of,
    variable,
)
from aws_backend.dynamodb.tls import amazon_tls, tls_with_roots
from sltt_core.base.errors import InvalidInput
from sltt_core.base.runtime import SYSTEM
from sltt_core.http_client.proxies import connect_through, proxy_of
from sltt_core.http_client.transport import HttpTransport, open_connection, parse_origin, system_tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aws_backend.dynamodb.credential_documents import ReadText
    from sltt_core.base.runtime import Runtime
    from sltt_core.http_client.sockets import Tls
    from sltt_core.http_client.transport import Origin

SERVICES = {"dynamodb": "dynamodb", "sts": "sts", "sso": "portal.sso"}
"""For each service, by its name in settings: the beginning of its host name."""


class Connection:
    """The settings for connections to AWS. Safe for use by several threads."""

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        profile: str | None = None,
        read_text: ReadText = read_text,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Read and check the settings. `profile` is by default the one that the environment names.

        Raises `InvalidInput`, with the name of the setting, and `CredentialError` for a file that cannot be read.
        """
        self._environ = environ
        self._read_text = read_text
        self._runtime = runtime
        self._profile = {} if on_lambda(environ) else _read_profile(environ, profile, read_text)
        self._use_fips = self._flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")
        self._use_dualstack = self._flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")
        self._ignores_urls = self._flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")
        self._tls: tuple[Callable[[], Tls], ...] = (amazon_tls, system_tls)
        name, path = self._setting("AWS_CA_BUNDLE", "ca_bundle")
        if path:
            roots = _roots(name, expand(path, environ))
            self._tls = (lambda: roots,)

    def endpoint(self, service: str, region: str, given: str | None = None) -> str:
        """Return the URL of a service (a key of `SERVICES`) in a region; raises `InvalidInput`.

        `given` is an URL that the caller prefers to all settings.
        """
        name, url = ("DYNAMODB_ENDPOINT", given) if given else self._configured_url(service)
        if not url:
            return default_endpoint(
                region, SERVICES[service], use_fips=bool(self._use_fips), use_dualstack=bool(self._use_dualstack)
            )
        for variant in filter(None, (self._use_fips, self._use_dualstack)):
            raise InvalidInput(
                f"{variant} is true, but {name} names the endpoint", field=variant, hint="Unset one of them."
            )
        try:
            parse_origin(url)
        except ValueError as error:
            raise InvalidInput(
                f"{name}: {error}", field=name, hint="An example is https://dynamodb.eu-west-1.amazonaws.com."
            ) from None
        return url

    def make_transport(self, origin: Origin, seconds: float) -> HttpTransport:
        """Create the transport to an origin; raises `InvalidInput` for a proxy that is not valid."""
        proxy = proxy_of(origin, self._environ)
        return HttpTransport(
            origin,
            read_seconds=seconds,
            tls=self._tls,
            connect=open_connection if proxy is None else connect_through(proxy, origin),
            steady_clock=self._runtime.steady_clock,
        )

    def _configured_url(self, service: str) -> tuple[str, str]:
        """Return the name and the value of the setting for a service's endpoint, in botocore's order."""
        if self._ignores_urls:
            return "", ""
        for name in (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL"):
            url = variable(self._environ, name)
            if url:
                return name, url
        url = self._service_url(service)
        if url:
            return f"endpoint_url of {service} in the services section of the profile", url
        return "endpoint_url of the profile", self._profile.get("endpoint_url", "")

    def _service_url(self, service: str) -> str:
        """Return the URL in the section `[services NAME]` that the profile names; empty if there is none."""
        section = self._profile.get("services")
        if not section:
            return ""
        from aws_backend.dynamodb.profiles import endpoint_of_service

        return endpoint_of_service(self._environ, section, service, self._read_text)

    def _setting(self, name: str, key: str) -> tuple[str, str]:
        """Return the name and the value of a setting: a variable, else a key of the profile."""
        value = variable(self._environ, name)
        return (name, value) if value else (f"{key} of the profile", self._profile.get(key, ""))

    def _flag(self, variable_name: str, key: str) -> str:
        """Return the name of a setting if it is true, otherwise an empty string."""
        name, value = self._setting(variable_name, key)
        if value.lower() not in ("", "true", "false"):
            raise InvalidInput(f"{name} is {value!r}, neither true nor false", field=name, hint="Set it to true.")
        return name if value.lower() == "true" else ""


def _read_profile(environ: Mapping[str, str], profile: str | None, read_text: ReadText) -> Mapping[str, str]:
    try:
        from aws_backend.dynamodb.profiles import profile_settings
    except ModuleNotFoundError:  # the package for Lambda, somewhere else
        return {}
    return profile_settings(environ, profile, read_text)


def _roots(name: str, path: str) -> Tls:
    try:
        return tls_with_roots(path)
    except OSError as error:
        reason = reason_of(error) if error.filename or os.path.isdir(path) else "it contains no certificate"
    if os.path.isdir(path):
        reason = "it is a folder"
    elif not os.path.exists(path):
        reason = "no such file"
    raise InvalidInput(
        f"the file of {name} cannot be used: {reason}", field=name, hint="Name a file of certificates in PEM format."
    )
