"""Credentials from a metadata service: that of a container, or of an EC2 instance."""

from __future__ import annotations

from aws_backend.dynamodb.credential_documents import (
    SourceEmpty,
    SourceFailed,
    credentials_from_document,
    is_visible,
    parse_document,
    reason_of,
    variable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aws_backend.dynamodb.credential_documents import ReadText
    from aws_backend.dynamodb.sigv4 import Credentials
    from sltt_core.http_client.transport import HttpResponse, HttpTransport, Origin

    MakeTransport = Callable[[Origin, float], HttpTransport]
    """Creates a transport to an origin, with a time limit in seconds for a connection and for a response."""

INSTANCE_SECONDS = 1.0
"""Time limit for a response of the instance metadata service; the same as botocore's."""
CONTAINER_SECONDS = 2.0
"""Time limit for a response of a container's credential service; the same as botocore's."""
ATTEMPTS = 3
"""Attempts of one request. It is retried if there is no response, or one with status 429 or 500 and up."""


class MetadataClient:
    """A client for the services that provide credentials to a container or an instance."""

    def __init__(
        self, transport: MakeTransport, steady_clock: Callable[[], float], pause: Callable[[float], None]
    ) -> None:
        self._transport = transport
        self._steady_clock = steady_clock
        self._pause = pause

    def send(
        self,
        origin: Origin,
        method: str,
        path: str,
        headers: Mapping[str, str],
        seconds: float,
        *,
        required: bool,
        body: bytes = b"",
    ) -> HttpResponse:
        """Send a request and return its response; raises `SourceFailed`.

        The response may have any status except 429 and 500 and up. `seconds` is the time limit of one attempt. A
        failed connection is retried only if the service is `required`.
        """
        from sltt_core.http_client.transport import BadResponse, ConnectFailed, TransportError

        lines = {"host": origin.authority, "accept": "application/json", "content-length": str(len(body)), **headers}
        if method == "GET":
            del lines["content-length"]
        header_lines = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        request = f"{method} {path} HTTP/1.1\r\n{header_lines}\r\n".encode("ascii") + body
        transport = self._transport(origin, seconds)
        problem = ""
        try:
            for attempt in range(ATTEMPTS):
                if attempt:
                    self._pause(0.2 * attempt)
                try:
                    response = transport.send(request, deadline=self._steady_clock() + seconds, repeatable=True)
                except TransportError as error:
                    # The message of a `BadResponse` quotes the response, which may contain anything.
                    problem = "the response is not HTTP" if isinstance(error, BadResponse) else error.message
                    if isinstance(error, ConnectFailed) and not required:
                        break
                else:
                    if response.status < 500 and response.status != 429:
                        return response
                    problem = f"its response has status {response.status}"
        finally:
            transport.close()
        raise SourceFailed(problem)


class ContainerSource:
    """The service named in a container's environment: ECS, EKS Pod Identity, Lambda with SnapStart, Greengrass.

    AWS SDKs and Tools Reference Guide, "Container credential provider".
    """

    place = "container"

    def __init__(self, environ: Mapping[str, str], metadata: MetadataClient, read_text: ReadText) -> None:
        self._environ = environ
        self._metadata = metadata
        self._read_text = read_text

    def load(self) -> Credentials:
        relative = variable(self._environ, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        full = variable(self._environ, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if relative:
            if not relative.startswith("/"):
                raise SourceFailed("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /")
            origin, path = _split("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", f"http://169.254.170.2{relative}")
        elif full:
            origin, path = _split("AWS_CONTAINER_CREDENTIALS_FULL_URI", full)
            if not _is_trusted(origin):
                raise SourceFailed(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor of a host for which http is allowed: "
                    f"loopback, {', '.join(sorted(_CONTAINER_HOSTS))}"
                )
        else:
            raise SourceEmpty(
                "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set"
            )
        token = self._token()
        headers = {"authorization": token} if token else {}
        response = self._metadata.send(origin, "GET", path, headers, CONTAINER_SECONDS, required=True)
        if response.status != 200:
            raise SourceFailed(f"its response has status {response.status}")
        return credentials_from_document(parse_document(response.body, "its response"), "Token", temporary=True)

    def _token(self) -> str:
        """Return the value of the `authorization` header. A file is read each time, because EKS replaces it."""
        name = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
        path = variable(self._environ, name)
        if not path:
            name = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
            token = variable(self._environ, name)
            if not token:
                return ""
        else:
            name = f"the file of {name}"
            try:
                token = self._read_text(path).strip()
            except OSError as error:
                raise SourceFailed(f"{name} cannot be read ({reason_of(error)})") from None
            except ValueError:
                token = ""
        if not is_visible(token.replace(" ", "_")):
            raise SourceFailed(f"{name} does not contain a token")
        return token


_CONTAINER_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
"""ECS, and EKS Pod Identity over IPv4 and IPv6."""


def _is_trusted(origin: Origin) -> bool:
    """Return whether credentials may be requested from an origin: over https, or from a known local host."""
    if origin.scheme == "https" or origin.host == "localhost":
        return True
    from ipaddress import ip_address

    try:
        address = ip_address(origin.host)
    except ValueError:
        return False
    return address.is_loopback or str(address) in _CONTAINER_HOSTS


class InstanceSource:
    """An EC2 instance's role, from version 2 of its metadata service: it gets a token, then the role, then its keys.

    AWS, "Use the Instance Metadata Service" (EC2 User Guide). Version 1 is never used: any program that can be tricked
    into sending a GET request can use it. This source is never configured, so every failure counts as empty. A
    container on an instance whose hop limit for metadata is 1 gets no token: the request times out.
    """

    place = "instance metadata"
    outlives_expiry = True  # see `CredentialChain`

    def __init__(self, environ: Mapping[str, str], metadata: MetadataClient) -> None:
        self._environ = environ
        self._metadata = metadata

    def load(self) -> Credentials:
        if variable(self._environ, "AWS_EC2_METADATA_DISABLED").lower() == "true":
            raise SourceEmpty("AWS_EC2_METADATA_DISABLED is true")
        try:
            return self._load()
        except SourceFailed as error:
            raise SourceEmpty(str(error)) from None

    def _load(self) -> Credentials:
        name = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
        default_url = "http://169.254.169.254"
        if variable(self._environ, f"{name}_MODE").lower() == "ipv6":
            default_url = "http://[fd00:ec2::254]"
        origin, base = _split(name, variable(self._environ, name) or default_url)
        base = base.rstrip("/")

        def send(method: str, path: str, headers: Mapping[str, str]) -> str:
            path = f"{base}/latest/{path}"
            response = self._metadata.send(origin, method, path, headers, INSTANCE_SECONDS, required=False)
            if response.status != 200:
                raise SourceFailed(f"its response to {method} {path} has status {response.status}")
            return response.body.decode("utf-8", "replace")

        token = send("PUT", "api/token", {"x-aws-ec2-metadata-token-ttl-seconds": "60"})
        if not is_visible(token):
            raise SourceFailed("its response is not a token")
        headers = {"x-aws-ec2-metadata-token": token}
        roles = send("GET", "meta-data/iam/security-credentials/", headers)
        role = roles.strip().partition("\n")[0].rstrip()
        if not role.isascii() or not role or role.strip(_ROLE):
            raise SourceFailed("its response is not a role name")
        document = parse_document(send("GET", f"meta-data/iam/security-credentials/{role}", headers), "its response")
        code = document.get("Code", "Success")
        if code != "Success":
            shown = code if isinstance(code, str) and code.isalpha() and len(code) < 64 else "Code is not Success"
            raise SourceFailed(f"it has no keys for the instance's role: {shown}")
        return credentials_from_document(document, "Token", temporary=True)


_ROLE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-"
"""The characters of a role name (AWS: "IAM and AWS STS quotas")."""


def _split(name: str, url: str) -> tuple[Origin, str]:
    """Split the URL in variable `name` into its origin and its path; raises `SourceFailed`."""
    from sltt_core.http_client.transport import parse_origin

    scheme, _, rest = url.partition("://")
    length = min(at for at in (rest.find("/"), rest.find("?"), len(rest)) if at >= 0)
    path = rest[length:]
    try:
        origin = parse_origin(f"{scheme}://{rest[:length]}")
    except ValueError:
        origin = None
    if origin is None or not is_visible(url) or "#" in url:
        raise SourceFailed(f"{name} is not a valid http or https URL")
    return origin, path if path.startswith("/") else f"/{path}"


def make_transport(origin: Origin, seconds: float) -> HttpTransport:
    """Create the transport to a metadata service (see `MakeTransport`)."""
    from sltt_core.http_client.transport import HttpTransport

    return HttpTransport(origin, connect_seconds=seconds, read_seconds=seconds, max_body=100_000)
