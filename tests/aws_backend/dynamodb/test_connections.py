"""Endpoints, certificates and proxies: each setting of AWS is used or refused by name."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import contextmanager
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import pytest
import trustme

from aws_backend.dynamodb.connections import Connection
from aws_backend.dynamodb.credential_documents import CredentialError
from aws_backend.dynamodb.credentials import (
    CONNECTION_SETTINGS,
    connection_is_configured,
    default_chain,
    region_from_environment,
)
from aws_backend.settings import open_dynamodb
from aws_backend.storage import DynamoDBStorageService
from sltt_core.base.errors import InvalidInput
from sltt_core.http_client.proxies import proxy_of
from sltt_core.http_client.transport import ConnectFailed, Origin, parse_origin
from tests.sltt_core.http_client.peers import Peer, keep_responding, request, response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sltt_core.http_client.peers import Line

CONFIG = "/home/u/.aws/config"
URL = "https://vpce-0.dynamodb.eu-west-1.vpce.amazonaws.com"


def connection(config: str = "", **environ: str) -> Connection:
    def read_text(path: str) -> str:
        if path == CONFIG and config:
            return config
        raise FileNotFoundError(2, "No such file or directory", path)

    return Connection({"HOME": "/home/u", **environ}, read_text=read_text)


def endpoint(config: str = "", given: str | None = None, **environ: str) -> str:
    return connection(config, **environ).endpoint("dynamodb", "eu-west-1", given)


SERVICES_SECTION = "[default]\nservices = local\nendpoint_url = http://global:1\n[services local]\n"

ENDPOINTS = {
    "nothing": ("", {}, "https://dynamodb.eu-west-1.amazonaws.com"),
    "all services": ("", {"AWS_ENDPOINT_URL": URL}, URL),
    "dynamodb": ("", {"AWS_ENDPOINT_URL": "http://other", "AWS_ENDPOINT_URL_DYNAMODB": URL}, URL),
    "another service": ("", {"AWS_ENDPOINT_URL_S3": URL}, "https://dynamodb.eu-west-1.amazonaws.com"),
    "fips": ("", {"AWS_USE_FIPS_ENDPOINT": "true"}, "https://dynamodb-fips.eu-west-1.amazonaws.com"),
    "no fips": ("", {"AWS_USE_FIPS_ENDPOINT": "False"}, "https://dynamodb.eu-west-1.amazonaws.com"),
    "dual stack": ("", {"AWS_USE_DUALSTACK_ENDPOINT": "TRUE"}, "https://dynamodb.eu-west-1.api.aws"),
    "both": (
        "",
        {"AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_USE_FIPS_ENDPOINT": "true"},
        "https://dynamodb-fips.eu-west-1.api.aws",
    ),
    "profile": (f"[default]\nendpoint_url = {URL}\n", {}, URL),
    "another profile": (f"[profile p]\nendpoint_url = {URL}\n", {"AWS_PROFILE": "p"}, URL),
    "default profile": (f"[profile p]\nendpoint_url = {URL}\n", {"AWS_DEFAULT_PROFILE": "p"}, URL),
    "environment first": ("[default]\nendpoint_url = http://other\n", {"AWS_ENDPOINT_URL": URL}, URL),
    "services": (f"{SERVICES_SECTION}s3 =\n  endpoint_url = http://s3\ndynamodb =\n  endpoint_url = {URL}\n", {}, URL),
    "services without it": (f"{SERVICES_SECTION}s3 =\n  endpoint_url = http://s3:2\n", {}, "http://global:1"),
    "ignored": (
        f"{SERVICES_SECTION}dynamodb =\n  endpoint_url = http://x\n",
        {"AWS_ENDPOINT_URL": "http://y", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        "https://dynamodb.eu-west-1.amazonaws.com",
    ),
    "profile fips": ("[default]\nuse_fips_endpoint = true\n", {}, "https://dynamodb-fips.eu-west-1.amazonaws.com"),
    "profile dual stack": ("[default]\nuse_dualstack_endpoint = true\n", {}, "https://dynamodb.eu-west-1.api.aws"),
    "environment's fips": (
        "[default]\nuse_fips_endpoint = true\n",
        {"AWS_USE_FIPS_ENDPOINT": "false"},
        "https://dynamodb.eu-west-1.amazonaws.com",
    ),
}


@pytest.mark.parametrize(("config", "environ", "url"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_the_endpoint_that_the_settings_define(config: str, environ: dict[str, str], url: str) -> None:
    assert endpoint(config, **environ) == url


@pytest.mark.parametrize(("config", "environ", "url"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_botocore_uses_the_same_endpoint(
    config: str, environ: dict[str, str], url: str, tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    import botocore.session  # type: ignore[import-untyped]

    (tmp_path / "config").write_text(config)
    for name, value in {**environ, "AWS_CONFIG_FILE": str(tmp_path / "config"), **KEYS}.items():
        clean_environment.setenv(name, value)
    assert botocore.session.Session().create_client("dynamodb", "eu-west-1").meta.endpoint_url == url


REFUSED = {
    "no url": ("", {"AWS_ENDPOINT_URL_DYNAMODB": "localhost:8000"}, "AWS_ENDPOINT_URL_DYNAMODB"),
    "path": ("", {"AWS_ENDPOINT_URL": "http://localhost:8000/path"}, "AWS_ENDPOINT_URL"),
    "no flag": ("", {"AWS_USE_FIPS_ENDPOINT": "perhaps"}, "AWS_USE_FIPS_ENDPOINT"),
    "no profile flag": ("[default]\nuse_fips_endpoint = 7\n", {}, "use_fips_endpoint"),
    "no profile url": ("[default]\nendpoint_url = x\n", {}, "endpoint_url"),
    "fips": ("", {"AWS_ENDPOINT_URL": URL, "AWS_USE_FIPS_ENDPOINT": "true"}, "AWS_USE_FIPS_ENDPOINT"),
    "dual stack": (
        f"[default]\nendpoint_url = {URL}\n",
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
        "AWS_USE_DUALSTACK_ENDPOINT",
    ),
    "profile fips": ("[default]\nuse_fips_endpoint = true\n", {"AWS_ENDPOINT_URL": URL}, "use_fips_endpoint"),
    "no services": ("[default]\nservices = gone\n", {}, "services"),
    "bundle": ("", {"AWS_CA_BUNDLE": "/nowhere/at/all.pem"}, "AWS_CA_BUNDLE"),
    "profile bundle": ("[default]\nca_bundle = /nowhere/at/all.pem\n", {}, "ca_bundle"),
    "folder": ("", {"AWS_CA_BUNDLE": "/"}, "AWS_CA_BUNDLE"),
    "no certificates": ("", {"AWS_CA_BUNDLE": __file__}, "AWS_CA_BUNDLE"),
}


@pytest.mark.parametrize(("config", "environ", "name"), REFUSED.values(), ids=REFUSED)
def test_a_setting_that_cannot_be_used_is_refused_by_name(config: str, environ: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        endpoint(config, **environ)
    assert name in caught.value.message
    assert name in str(caught.value.field)


def test_fips_and_an_endpoint_of_ours_contradict_each_other() -> None:
    with pytest.raises(InvalidInput, match="AWS_USE_FIPS_ENDPOINT is true, but DYNAMODB_ENDPOINT"):
        endpoint(given=URL, AWS_USE_FIPS_ENDPOINT="true")
    assert endpoint(given=URL, AWS_ENDPOINT_URL="http://other") == URL


def test_two_profiles_are_refused() -> None:
    with pytest.raises(CredentialError, match="AWS_PROFILE and AWS_DEFAULT_PROFILE name different profiles"):
        connection(AWS_PROFILE="a", AWS_DEFAULT_PROFILE="b")
    environ = {"AWS_PROFILE": "a", "AWS_DEFAULT_PROFILE": "b", "AWS_EC2_METADATA_DISABLED": "true"}
    with pytest.raises(CredentialError, match="name different profiles"):
        region_from_environment(environ)
    with pytest.raises(CredentialError, match="name different profiles"):
        default_chain(environ=environ).get()


def test_a_lambda_function_without_these_settings_does_not_look_at_them() -> None:
    function = {"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_REGION": "eu-west-1"}
    assert not connection_is_configured(function)
    for name in CONNECTION_SETTINGS:
        assert connection_is_configured({**function, name: "x"})
    assert connection_is_configured({})
    assert Connection({**function, "AWS_ENDPOINT_URL": URL}).endpoint("dynamodb", "eu-west-1") == URL


# The storage


KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The environment without any setting of AWS or of a proxy."""
    for name in os.environ:
        if name.startswith(("AWS_", "DYNAMODB_", "USE_LOCAL_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def refuse(line: Line) -> None:
    line.respond_all(response(b"{}", status="400 Bad Request"))


def signed_request(peer: Peer, storage: DynamoDBStorageService) -> str:
    """The headers of the first request that a storage sends."""
    storage.initialize()
    try:
        with pytest.raises(Exception, match=r"DynamoDB"):
            storage.get_head(project_id="p")
    finally:
        storage.close()
    return peer.requests[0].decode().lower()


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "DYNAMODB_ENDPOINT", "endpoint_url"])
def test_an_endpoint_with_real_credentials(name: str, clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Peer(refuse) as peer:
        url = f"http://127.0.0.1:{peer.origin.port}"
        for variable, value in {**KEYS, "AWS_REGION": "eu-west-1"}.items():
            clean_environment.setenv(variable, value)
        if name == "endpoint_url":
            (tmp_path / ".aws").mkdir()
            (tmp_path / ".aws" / "config").write_text(f"[default]\nendpoint_url = {url}\n")
        else:
            clean_environment.setenv(name, url)
        clean_environment.setenv("USE_LOCAL_DYNAMODB", "false")
        storage = open_dynamodb("team", "p", os.environ)
        storage._check_table = False
        sent = signed_request(peer, storage)
    assert not storage.local
    assert "credential=akidexample/" in sent
    assert "/eu-west-1/dynamodb/" in sent


@pytest.mark.parametrize(
    "host", ["vpce-1-a.dynamodb.eu-west-1.vpce.amazonaws.com", "dynamodb.eusc-de-east-1.amazonaws.eu"]
)
def test_an_endpoint_on_aws_gets_real_credentials(host: str) -> None:
    storage = open_dynamodb("team", None, {"DYNAMODB_ENDPOINT": f"https://{host}"})
    assert (storage.local, storage.place) == (False, f"at https://{host}")
    with pytest.raises(InvalidInput, match="DYNAMODB_ENDPOINT names a DynamoDB on AWS, but USE_LOCAL_DYNAMODB is true"):
        open_dynamodb("team", None, {"DYNAMODB_ENDPOINT": f"https://{host}", "USE_LOCAL_DYNAMODB": "true"})


def test_a_local_dynamodb_is_where_awss_own_setting_names_it() -> None:
    local = {"USE_LOCAL_DYNAMODB": "true", "AWS_ENDPOINT_URL": "http://localstack:4566"}
    assert open_dynamodb("team", None, local).place == "at http://localstack:4566"
    with pytest.raises(InvalidInput, match=r"^AWS_ENDPOINT_URL: "):
        open_dynamodb("team", None, {**local, "AWS_ENDPOINT_URL": "localstack"})
    with pytest.raises(InvalidInput, match="AWS_USE_FIPS_ENDPOINT is true, but AWS_ENDPOINT_URL"):
        open_dynamodb("team", None, {**local, "AWS_USE_FIPS_ENDPOINT": "true"})


# Certificates


def test_a_bundle_replaces_the_roots(tmp_path: Path) -> None:
    ca, other = trustme.CA(), trustme.CA()
    for name, authority in (("ca", ca), ("other", other)):
        authority.cert_pem.write_to_path(str(tmp_path / f"{name}.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    with Peer(keep_responding, tls=context) as peer:
        transport = connection(AWS_CA_BUNDLE=str(tmp_path / "ca.pem")).make_transport(peer.origin, 5.0)
        assert transport.send(request(), deadline=monotonic() + 5).status == 200
        transport.close()
        config = f"[default]\nca_bundle = {tmp_path / 'ca.pem'}\n"
        transport = connection(config).make_transport(peer.origin, 5.0)
        assert transport.send(request(), deadline=monotonic() + 5).status == 200
        transport.close()
        transport = connection(config, AWS_CA_BUNDLE=str(tmp_path / "other.pem")).make_transport(peer.origin, 5.0)
        with pytest.raises(ConnectFailed, match="is not trusted"):
            transport.send(request(), deadline=monotonic() + 5)


# Proxies


class Proxy:
    """A proxy on loopback: it leads every CONNECT to one place, or responds with something else."""

    def __init__(self, port: int, response: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.port = port
        self.response = response
        self.requests: list[bytes] = []
        self.ends: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            Thread(target=self.lead, args=(client,), daemon=True).start()

    def lead(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(4096)
        self.requests.append(head)
        client.sendall(self.response)
        if not self.response.endswith(b"established\r\n\r\n"):
            client.close()
            return
        self.ends.append(client)
        server = socket.create_connection(("127.0.0.1", self.port))
        self.ends.append(server)
        for source, target in ((client, server), (server, client)):
            Thread(target=self.copy, args=(source, target), daemon=True).start()

    @staticmethod
    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@contextmanager
def proxying(port: int, *response: bytes) -> Iterator[Proxy]:
    proxy = Proxy(port, *response)
    thread = Thread(target=proxy.serve)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        proxy.listener.close()
        for end in proxy.ends:
            end.close()


HOST = "dynamodb.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize("user", ["", "me:p%40ss@"])
def test_a_proxy_is_used(name: str, user: str, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(HOST).configure_cert(context)
    with Peer(keep_responding, tls=context) as peer, proxying(peer.origin.port) as proxy:
        environ = {name: f"http://{user}{proxy.address}/", "AWS_CA_BUNDLE": str(tmp_path / "ca.pem")}
        transport = connection(**environ).make_transport(parse_origin(f"https://{HOST}"), 5.0)
        assert transport.send(request(), deadline=monotonic() + 5).status == 200
        assert transport.send(request(), deadline=monotonic() + 5).status == 200
        transport.close()
    (seen,) = proxy.requests
    assert seen.startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\n".encode())
    assert (b"proxy-authorization: Basic bWU6cEBzcw==\r\n" in seen) is bool(user)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy of HTTPS_PROXY responded with status 407"),
        (b"SSH-2.0-x\r\n\r\n", "responded with something that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "responded with status 200"),
        (b"", "the proxy of HTTPS_PROXY closed the connection"),
    ],
)
def test_a_proxy_that_refuses_is_named(response: bytes, reason: str) -> None:
    with proxying(0, response) as proxy:
        transport = connection(HTTPS_PROXY=f"http://me:SENTINEL@{proxy.address}").make_transport(
            Origin("https", HOST, 443), 5.0
        )
        with pytest.raises(ConnectFailed) as caught:
            transport.send(request(), deadline=monotonic() + 5)
    assert reason in caught.value.message
    assert "SENTINEL" not in caught.value.message


def test_a_proxy_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    transport = connection(HTTPS_PROXY=f"127.0.0.1:{port}").make_transport(Origin("https", HOST, 443), 5.0)
    with pytest.raises(ConnectFailed, match="the proxy of HTTPS_PROXY cannot be reached"):
        transport.send(request(), deadline=monotonic() + 5)


@pytest.mark.parametrize("url", ["https://proxy:3128", "socks5://proxy:1080", "http://", "http://me:SENTINEL@a b", "é"])
def test_a_proxy_that_cannot_be_used_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidInput, match="HTTPS_PROXY is not valid") as caught:
        connection(HTTPS_PROXY=url).make_transport(Origin("https", HOST, 443), 5.0)
    assert caught.value.field == "HTTPS_PROXY"
    assert "SENTINEL" not in f"{caught.value.message}{caught.value.__context__}"


@pytest.mark.parametrize(
    "excluded",
    ["*", HOST, ".amazonaws.com", "amazonaws.com", "x.org, AMAZONAWS.COM", f"{HOST}:443", "*.amazonaws.com", "x", ""],
)
def test_no_proxy_excludes_hosts_as_python_does(excluded: str) -> None:
    environ = {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": excluded}
    direct = proxy_of(Origin("https", HOST, 443), environ) is None
    expected = proxy_bypass_environment(f"{HOST}:443", {"no": excluded})
    assert direct is (bool(expected) or excluded == "*.amazonaws.com")


def test_which_proxy_is_used() -> None:
    environ = {"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2", "HTTP_PROXY": "c"}

    def name_of(url: str, **more: Any) -> str | None:
        proxy = proxy_of(parse_origin(url), {**environ, **more})
        return None if proxy is None else proxy.name

    assert name_of("https://h") == "https_proxy"
    assert name_of("https://h", https_proxy="") == "HTTPS_PROXY"
    assert name_of("http://h") == "HTTP_PROXY"
    for loopback in ("http://localhost:1", "https://127.0.0.1", "http://[::1]:8000"):
        assert name_of(loopback) is None
