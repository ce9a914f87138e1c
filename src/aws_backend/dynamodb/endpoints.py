"""The endpoints of AWS's services: the host name that AWS defines for each service, region and variant.

Source: botocore 1.44, `data/partitions.json` and the endpoint rule set of each service.
"""

from __future__ import annotations

_PARTITIONS = (
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("", "amazonaws.com", "api.aws"),
)
"""For the beginning of a region's name: the suffix of a host, and that of a host with IPv4 and IPv6 (dual stack)."""
AWS_SUFFIXES = tuple(f".{suffix}" for _, *suffixes in _PARTITIONS for suffix in suffixes)
"""How the names of AWS's hosts end."""


def default_endpoint(
    region: str, service: str = "dynamodb", *, use_fips: bool = False, use_dualstack: bool = False
) -> str:
    """Return the URL of a service in a region. `service` is the beginning of its host name."""
    suffix, dual_suffix = next(
        (suffix, dual_suffix) for prefix, suffix, dual_suffix in _PARTITIONS if region.startswith(prefix)
    )
    # The endpoints of GovCloud are all FIPS endpoints; only those with dual stack have a name of their own.
    if use_fips and (use_dualstack or not region.startswith("us-gov-")):
        service += "-fips"
    return f"https://{service}.{region}.{dual_suffix if use_dualstack else suffix}"
