"""Credentials in exchange for a token: from STS for a web identity, from IAM Identity Center (SSO) for a login.

Both calls are unsigned: the token is the proof. Sources: AWS, "AssumeRoleWithWebIdentity" (STS API Reference) and
"GetRoleCredentials" (IAM Identity Center Portal API Reference); for the cache of logins, botocore 1.44 (`utils.py`,
`SSOTokenLoader`). A Lambda function has no such tokens; the package for Lambda does not have this module.
"""

from __future__ import annotations

from aws_backend.dynamodb.connections import Connection
from aws_backend.dynamodb.credential_documents import (
    SourceFailed,
    checked_credentials,
    expand,
    is_visible,
    parse_document,
    parse_instant,
    reason_of,
)
from aws_backend.dynamodb.metadata_sources import MetadataClient
from sltt_core.http_client.transport import parse_origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aws_backend.dynamodb.credential_documents import ReadText
    from aws_backend.dynamodb.sigv4 import Credentials
    from sltt_core.base.runtime import Runtime
    from sltt_core.http_client.transport import HttpResponse

RESPONSE_SECONDS = 10.0
"""Time limit for a response of STS and of IAM Identity Center."""
_STS_VERSION = "2011-06-15"


class TokenExchange:
    """Exchanges tokens for credentials."""

    def __init__(
        self,
        environ: Mapping[str, str],
        profile: str | None,
        region: Callable[[], str | None],
        read_text: ReadText,
        runtime: Runtime,
    ) -> None:
        """`region` returns the region whose STS is used; the others are parameters of `credentials.default_chain`."""
        self._environ = environ
        self._profile = profile
        self._region = region
        self._read_text = read_text
        self._runtime = runtime

    def for_web_identity(self, role: str, path: str, session: str) -> Credentials:
        """Return credentials for a role (its ARN) by the token in the file at `path`; raises `SourceFailed`.

        The file is read each time, because it is replaced. `session` is the session's name; it may be empty.
        """
        from urllib.parse import urlencode

        token = self._read("the web identity's token file", path).strip()
        if not is_visible(token):
            raise SourceFailed("the web identity's token file does not contain a token")
        region = self._region()
        if not region:
            raise SourceFailed("a web identity needs a region; set AWS_REGION")
        fields = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": _STS_VERSION,
            "RoleArn": role,
            "RoleSessionName": session or f"sltt-{self._runtime.clock() // 10**9}",
            "WebIdentityToken": token,
        }
        headers = {"accept": "text/xml", "content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        response = self._send("sts", region, "POST", "/", headers, urlencode(fields).encode("ascii"))
        text = response.body.decode("utf-8", "replace")
        if response.status != 200:
            code = _element(text, "Code")
            shown = f": {code}" if code.isalnum() and code.isascii() and len(code) < 64 else ""
            raise SourceFailed(f"STS refused the web identity with status {response.status}{shown}")
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
        inside = _element(text, "Credentials")
        found = {name: _element(inside, name) for name in names}
        if "<AssumeRoleWithWebIdentityResponse" not in text or any(
            not value or "<" in value or "&" in value for value in found.values()
        ):
            raise SourceFailed("the response of STS does not contain credentials")
        expires = parse_instant("Expiration", found.pop("Expiration"))
        return checked_credentials(found, expires)

    def for_login(self, login: str, region: str, account: str, role: str, command: str) -> Credentials:
        """Return credentials for a role by the token of an earlier `aws sso login`; raises `SourceFailed`.

        `login` is the name of the SSO session, or the start URL of a profile without one. `region` is that of IAM
        Identity Center. `command` is the command that creates a new token, for messages.
        """
        from hashlib import sha1
        from urllib.parse import urlencode

        name = sha1(login.encode(), usedforsecurity=False).hexdigest()
        text = self._read("the SSO login", expand(f"~/.aws/sso/cache/{name}.json", self._environ), f"; run: {command}")
        document = parse_document(text, "the SSO login")
        token, expiration = document.get("accessToken"), document.get("expiresAt")
        if not (isinstance(token, str) and is_visible(token) and isinstance(expiration, str)):
            raise SourceFailed(f"the SSO login is not valid; run: {command}")
        if parse_instant("expiresAt", expiration.replace("UTC", "Z")) <= self._runtime.clock() / 1e9:
            raise SourceFailed(f"the SSO login has expired; run: {command}")
        path = "/federation/credentials?" + urlencode({"role_name": role, "account_id": account})
        response = self._send("sso", region, "GET", path, {"x-amz-sso_bearer_token": token}, b"")
        if response.status == 401:
            raise SourceFailed(f"the SSO login is not accepted; run: {command}")
        if response.status != 200:
            raise SourceFailed(
                f"IAM Identity Center refused with status {response.status}; check sso_account_id and sso_role_name"
            )
        keys = parse_document(response.body, "the response of IAM Identity Center").get("roleCredentials")
        if not isinstance(keys, dict):
            raise SourceFailed("the response of IAM Identity Center does not contain roleCredentials")
        milliseconds = keys.get("expiration")
        if not isinstance(milliseconds, int) or isinstance(milliseconds, bool) or not keys.get("sessionToken"):
            raise SourceFailed("the response of IAM Identity Center is not complete")
        names = ("accessKeyId", "secretAccessKey", "sessionToken")
        return checked_credentials({name: keys.get(name) for name in names}, milliseconds / 1000)

    def _read(self, what: str, path: str, hint: str = "") -> str:
        try:
            return self._read_text(path)
        except FileNotFoundError:
            problem = f"does not exist{hint}"
        except OSError as error:
            problem = f"cannot be read ({reason_of(error)})"
        except ValueError:
            problem = "is not UTF-8"
        raise SourceFailed(f"{what} {problem}")

    def _send(
        self, service: str, region: str, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        if not region.replace("-", "").isalnum() or not region.isascii():
            raise SourceFailed("the region is not valid")
        connection = Connection(self._environ, profile=self._profile, read_text=self._read_text, runtime=self._runtime)
        origin = parse_origin(connection.endpoint(service, region))
        runtime = self._runtime
        client = MetadataClient(runtime.transport or connection.make_transport, runtime.steady_clock, runtime.pause)
        return client.send(origin, method, path, headers, RESPONSE_SECONDS, required=True, body=body)


def _element(text: str, name: str) -> str:
    """Return the content of the one element with a name; empty if there is none, or more than one."""
    begin, end = f"<{name}>", f"</{name}>"
    if text.count(begin) != 1 or text.count(end) != 1 or "<!" in text:
        return ""
    return text.partition(begin)[2].partition(end)[0]
