from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path
from time import gmtime, strftime, time

import pytest
import trustme

from aws_backend.dynamodb.tls import ROOTS, amazon_tls

YEAR = 365 * 86_400

# The roots of https://www.amazontrust.com/repository/ and the SHA-256 of their certificates. When these were written
# down, the public keys in them had the SHA-256 that is published there.
PUBLISHED = {
    "Amazon Root CA 1": "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    "Amazon Root CA 2": "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
    "Amazon Root CA 3": "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
    "Amazon Root CA 4": "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
    "Starfield Services Root Certificate Authority - G2": (
        "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5"
    ),
}


def test_the_published_roots_are_there_and_no_others() -> None:
    ders = amazon_tls().get_ca_certs(binary_form=True)
    assert {sha256(der).hexdigest() for der in ders} == set(PUBLISHED.values())
    # All that was loaded is for signing certificates: `get_ca_certs` tells no others.
    assert amazon_tls().cert_store_stats() == {"x509": len(PUBLISHED), "x509_ca": len(PUBLISHED), "crl": 0}


def test_each_root_has_a_comment_that_says_what_it_is() -> None:
    said = {}
    for der in amazon_tls().get_ca_certs(binary_form=True):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=der)
        (root,) = context.get_ca_certs()
        assert root["issuer"] == root["subject"]
        until = strftime("%Y-%m-%d", gmtime(ssl.cert_time_to_seconds(str(root["notAfter"]))))
        fingerprint = sha256(der).hexdigest()
        (name,) = (name for name in PUBLISHED if f"'commonName', '{name}'" in str(root["subject"]))
        assert fingerprint == PUBLISHED[name]
        said[f"# {name}, until {until}, SHA-256 {fingerprint}"] = ssl.DER_cert_to_PEM_cert(der)
    text = Path(ROOTS).read_text(encoding="ascii")
    assert text == text.splitlines()[0] + "\n" + "".join(f"{comment}\n{said[comment]}" for comment in sorted(said))


def test_each_root_lasts() -> None:
    for root in amazon_tls().get_ca_certs():
        assert ssl.cert_time_to_seconds(str(root["notBefore"])) < time()
        assert ssl.cert_time_to_seconds(str(root["notAfter"])) > time() + YEAR, "look for its successor"


def test_host_and_certificate_are_verified() -> None:
    context = amazon_tls()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Let them shake hands in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
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
        handshake(amazon_tls(), server, "dynamodb.eu-west-1.amazonaws.com")
    client = amazon_tls()
    authority.configure_trust(client)
    handshake(client, server, "dynamodb.eu-west-1.amazonaws.com")
