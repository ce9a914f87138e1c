"""TLS with Amazon's roots: which certificates it trusts, and that it verifies them."""

from __future__ import annotations

import _ssl
import ssl
import sys
from hashlib import sha256
from pathlib import Path
from time import gmtime, strftime, time
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from aws_backend.dynamodb.tls import ROOTS, MinimalTls, amazon_tls, tls_with_roots

if TYPE_CHECKING:
    from collections.abc import Callable

YEAR = 365 * 86_400

# The roots of https://www.amazontrust.com/repository/ and the SHA-256 of their certificates. When this list was
# written, the SHA-256 of their public keys was equal to the published one.
PUBLISHED = {
    "Amazon Root CA 1": "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    "Amazon Root CA 2": "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
    "Amazon Root CA 3": "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
    "Amazon Root CA 4": "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
    "Starfield Services Root Certificate Authority - G2": (
        "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5"
    ),
}


def minimal_context() -> Any:
    """The C context with Amazon's roots. It has the methods that `ssl.SSLContext` inherits from it."""
    tls = amazon_tls()
    assert isinstance(tls, MinimalTls)
    return tls.context


def test_only_the_published_roots_are_trusted() -> None:
    ders = minimal_context().get_ca_certs(binary_form=True)
    assert {sha256(der).hexdigest() for der in ders} == set(PUBLISHED.values())
    # All loaded certificates may sign others: `get_ca_certs` returns no other certificates.
    assert minimal_context().cert_store_stats() == {"x509": len(PUBLISHED), "x509_ca": len(PUBLISHED), "crl": 0}


def test_each_root_has_a_comment_with_name_end_and_fingerprint() -> None:
    entries = {}
    for der in minimal_context().get_ca_certs(binary_form=True):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=der)
        (root,) = context.get_ca_certs()
        assert root["issuer"] == root["subject"]
        until = strftime("%Y-%m-%d", gmtime(ssl.cert_time_to_seconds(str(root["notAfter"]))))
        fingerprint = sha256(der).hexdigest()
        (name,) = (name for name in PUBLISHED if f"'commonName', '{name}'" in str(root["subject"]))
        assert fingerprint == PUBLISHED[name]
        entries[f"# {name}, until {until}, SHA-256 {fingerprint}"] = ssl.DER_cert_to_PEM_cert(der)
    text = Path(ROOTS).read_text(encoding="ascii")
    assert text == text.splitlines()[0] + "\n" + "".join(
        f"{comment}\n{entries[comment]}" for comment in sorted(entries)
    )


def test_each_root_is_valid_for_another_year() -> None:
    for root in minimal_context().get_ca_certs():
        assert ssl.cert_time_to_seconds(str(root["notBefore"])) < time()
        assert ssl.cert_time_to_seconds(str(root["notAfter"])) > time() + YEAR, "add the root's successor"


def test_host_and_certificate_are_verified() -> None:
    context = minimal_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def handshake(client: Any, server: ssl.SSLContext, name: str) -> None:
    """Make a TLS handshake in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client._wrap_bio(to_client, to_server, False, name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)


def test_another_authority_is_not_trusted() -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("dynamodb.eu-west-1.amazonaws.com").configure_cert(server)
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
        handshake(minimal_context(), server, "dynamodb.eu-west-1.amazonaws.com")
    client = minimal_context()
    client.load_verify_locations(cadata=authority.cert_pem.bytes().decode())
    handshake(client, server, "dynamodb.eu-west-1.amazonaws.com")


def test_the_context_has_the_settings_of_ssl() -> None:
    ours, pythons = minimal_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("options", "verify_flags", "verify_mode", "check_hostname", "maximum_version", "security_level"):
        assert getattr(ours, name) == getattr(pythons, name)
    assert ours.get_ciphers() == pythons.get_ciphers()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda module: delattr(module, "_SSLContext"),
        lambda module: setattr(module, "_SSLContext", lambda: None),
        lambda module: setattr(module, "_SSLContext", lambda _protocol: object()),
        lambda module: setattr(module, "_SSLContext", Unverifying),
    ],
)
def test_ssl_is_used_where_its_c_module_differs(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[ModuleType], None]
) -> None:
    other = ModuleType("_ssl")
    other.__dict__.update(_ssl.__dict__)
    spoil(other)
    monkeypatch.setitem(sys.modules, "_ssl", other)
    context = tls_with_roots(ROOTS)
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == len(PUBLISHED)


class Unverifying:
    """A context that verifies no certificate."""

    verify_mode = ssl.CERT_NONE
    check_hostname = False

    def __init__(self, _protocol: int) -> None:
        pass
