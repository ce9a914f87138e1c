"""The host names of AWS's services, against botocore's rules for every region that it knows."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import botocore  # type: ignore[import-untyped]
import pytest
from botocore.endpoint_provider import EndpointProvider  # type: ignore[import-untyped]
from botocore.loaders import Loader  # type: ignore[import-untyped]

from aws_backend.dynamodb.client import AWS_SUFFIXES, default_endpoint
from aws_backend.dynamodb.connections import SERVICES

DATA = Path(botocore.__file__).parent / "data"
PARTITIONS = json.loads((DATA / "endpoints.json").read_text())["partitions"]
REGIONS = [(region, partition["dnsSuffix"]) for partition in PARTITIONS for region in partition["regions"]]


@cache
def rules_of(service: str) -> EndpointProvider:
    loader = Loader()
    return EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), loader.load_data("partitions"))


@pytest.mark.parametrize(("region", "suffix"), REGIONS)
def test_each_region_has_the_suffix_of_its_partition(region: str, suffix: str) -> None:
    assert default_endpoint(region) == f"https://dynamodb.{region}.{suffix}"
    assert f".{suffix}" in AWS_SUFFIXES


def test_botocore_knows_the_regions_of_all_partitions() -> None:
    assert len(REGIONS) > 40
    assert {region for region, _ in REGIONS} > {"eusc-de-east-1", "us-iso-east-1", "cn-north-1", "us-gov-west-1"}


@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("service", SERVICES)
def test_each_variant_of_each_service_is_botocores(service: str, dual: bool, fips: bool) -> None:
    for region, _ in REGIONS:
        url = rules_of(service).resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual).url
        assert default_endpoint(region, SERVICES[service], use_fips=fips, use_dualstack=dual) == url
