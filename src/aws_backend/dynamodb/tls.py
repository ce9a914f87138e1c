"""Whom a DynamoDB endpoint has to be vouched for by: Amazon's own roots.

Loading the system's whole bundle costs more than all else a Lambda function does before its first answer. An endpoint
that does not chain to these (one of a proxy, one of another vendor) is tried again with the system's:
`HttpTransport(…, tls=[amazon_tls, system_tls])`.
"""

from __future__ import annotations

import os
import ssl

ROOTS = os.path.join(os.path.dirname(__file__), "amazon_roots.pem")
"""The roots published at https://www.amazontrust.com/repository/, with their fingerprints."""


def amazon_tls() -> ssl.SSLContext:
    """Trust the roots of Amazon Trust Services and no other; host and certificate are verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies both
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ROOTS)
    return context
