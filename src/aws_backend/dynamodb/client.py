"""`DynamoDBClient`: sends signed requests such as `client.call("Query", {...})`, and retries them where that is safe.

DynamoDB's HTTP API accepts a JSON object in a POST request. A header names the operation (AWS: "DynamoDB low-level
API").
"""

from __future__ import annotations

from binascii import crc32

from aws_backend.dynamodb.errors import ClockSkewed, CredentialsExpired, NotDynamoDB, error_from_response
from aws_backend.dynamodb.retry import (
    MAX_ATTEMPTS,
    RetryQuota,
    rule_for,
    wait_before,
)
from aws_backend.dynamodb.sigv4 import RequestSigner
from aws_backend.dynamodb.tls import amazon_tls
from sltt_core.base.c_json import encoder, scanner
from sltt_core.base.errors import SlttError
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.timestamps import parse_http_date
from sltt_core.http_client.transport import BadResponse, HttpTransport, OutcomeUnknown, parse_origin, system_tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from aws_backend.dynamodb.sigv4 import Credentials
    from sltt_core.base.runtime import Observer, Runtime
    from sltt_core.http_client.transport import Origin

    MakeTransport = Callable[[Origin, float], HttpTransport]
    """Creates a transport to an origin, with a time limit in seconds for a response."""

CALL_SECONDS = 10.0
"""Time limit for one call with all its attempts, when the caller passes no deadline."""
MAX_SKEW_SECONDS = 240
"""The client corrects a difference between the two clocks from this on. DynamoDB refuses requests at 300 seconds."""

READS = frozenset(("BatchGetItem", "DescribeTable", "GetItem", "ListTables", "Query", "Scan", "TransactGetItems"))
"""Operations that are repeated by default, because they do no harm; `repeatable=True` repeats any other."""
METERED = ("Item", "Items", "Query", "Scan")
"""How the names of operations end that consume capacity units; others reject `ReturnConsumedCapacity`."""

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

# Created once: JSONEncoder.encode and json.loads make three times as many calls.
_encode = encoder()
_scan = scanner()


def _parse(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
        response, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError):
        raise NotDynamoDB("the response is not JSON") from None
    if end != len(text) or type(response) is not dict:
        raise NotDynamoDB("the response is not a JSON object")
    return response


class DynamoDBClient:
    """A client for DynamoDB in one region, or for a local DynamoDB at an endpoint. Safe for use by several threads."""

    def __init__(
        self,
        region: str,
        credentials: Callable[[], Credentials],
        *,
        endpoint: str | None = None,
        max_attempts: int = MAX_ATTEMPTS,
        make_transport: MakeTransport | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Create a client; it connects with the first call.

        `credentials` returns the current credentials; it is called before every request. If it is the method `get` of
        a `CredentialChain`, credentials that DynamoDB reports as expired are replaced once in a call, and the chain
        learns of a clock that is wrong. `endpoint` is a URL; the
        default is the region's endpoint. `max_attempts` counts the first attempt of a call, too. Deadlines are seconds
        of `runtime.steady_clock`. `make_transport` creates a transport with other certificates or a proxy;
        `runtime.transport` has precedence. With `runtime.observer`, every call asks DynamoDB for the capacity it
        consumes.

        Raises `ValueError` for an endpoint that is not a valid URL.
        """
        self.region = region
        self.endpoint = endpoint or default_endpoint(region)
        origin = parse_origin(self.endpoint)
        make_transport = runtime.transport or make_transport
        self._transport: HttpTransport = (
            HttpTransport(origin, tls=(amazon_tls, system_tls), steady_clock=runtime.steady_clock)
            if make_transport is None
            else make_transport(origin, CALL_SECONDS)
        )
        self._signer = RequestSigner(region, "dynamodb", origin.authority)
        self._credentials = credentials
        chain: Any = getattr(credentials, "__self__", None)
        self._chain = chain if hasattr(chain, "replace_expired") else None
        self._max_attempts = max_attempts
        self._clock = runtime.clock
        self._steady_clock = runtime.steady_clock
        self._pause = runtime.pause
        self._random = runtime.random
        self._observer = runtime.observer
        self._quota = RetryQuota()
        self._skew = 0.0
        """Seconds that DynamoDB's clock is ahead of the runtime's clock."""

    def call(
        self,
        operation: str,
        payload: Mapping[str, Any],
        *,
        deadline: float | None = None,
        repeatable: bool | None = None,
    ) -> dict[str, Any]:
        """Call an operation with a payload, and return its response; both are DynamoDB's JSON as Python objects.

        `deadline` is in seconds of the steady clock; the default is `CALL_SECONDS` from now. The failures listed in
        `retry.RULES` are retried until then. A request that may have been carried out is sent again only if it is
        `repeatable`. By default, reads and transactions with a request token are.

        Raises `DynamoDBError` when DynamoDB returns an error, `TransportError` when no valid response arrived, and
        `OutcomeUnknown` when a request that is not repeatable may have been carried out. Errors of `credentials` pass
        through.
        """
        if deadline is None:
            deadline = self._steady_clock() + CALL_SECONDS
        if repeatable is None:
            repeatable = operation in READS or "ClientRequestToken" in payload
        observer, begin = self._observer, 0.0
        units: tuple[float | None, float | None] = (None, None)
        if observer is not None:
            begin = self._steady_clock()
            if operation.endswith(METERED):
                payload = {**payload, "ReturnConsumedCapacity": "TOTAL"}
        body = "".join(_encode(payload, 0)).encode()
        attempt = cost = throttled = 0
        corrected = replaced = False
        try:
            while True:
                attempt += 1
                try:
                    credentials = self._credentials()
                    response = self._attempt(operation, body, credentials, deadline, repeatable)
                except ClockSkewed as error:
                    if corrected or not self._correct_clock(error):
                        raise
                    corrected = True
                except CredentialsExpired:
                    if replaced or self._chain is None:
                        raise
                    self._chain.replace_expired(credentials)
                    replaced = True
                except SlttError as error:
                    throttled += getattr(error, "is_throttled", False)
                    cost = self._wait_before_retry(error, attempt, deadline, repeatable)
                else:
                    if not self._quota.full:
                        self._quota.refund(cost or 1)
                    if observer is not None:
                        units = _units(response.pop("ConsumedCapacity", None), operation)
                    return response
        finally:
            if observer is not None:
                observer.on_call(operation, attempt, throttled, self._steady_clock() - begin, *units)

    def warm(self, seconds: float = CALL_SECONDS) -> None:
        """Load credentials and open a connection, so that the first call needs neither. Takes up to `seconds`.

        Raises `TransportError`, and what `credentials` raises.
        """
        self._credentials()
        self._transport.warm(self._steady_clock() + seconds)

    def observe(self, observer: Observer) -> None:
        """Notify an observer of every call from now on, instead of the runtime's."""
        self._observer = observer

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _attempt(
        self, operation: str, body: bytes, credentials: Credentials, deadline: float, repeatable: bool
    ) -> dict[str, Any]:
        now = self._clock() / 1e9 + self._skew
        headers = self._signer.write_headers(credentials, f"DynamoDB_20120810.{operation}", body, now)
        response = self._transport.send(headers + body, deadline=deadline, repeatable=repeatable)
        checksum = response.headers.get("x-amz-crc32")
        if checksum is not None and checksum != str(crc32(response.body)):
            raise BadResponse("the response's checksum is wrong")
        if response.status == 200:
            return _parse(response.body)
        request_id = response.headers.get("x-amzn-requestid")
        error = error_from_response(response.status, response.body, request_id, credentials.token)
        if isinstance(error, ClockSkewed):
            error.date = response.headers.get("date", "")
        raise error

    def _correct_clock(self, error: ClockSkewed) -> bool:
        """Adopt DynamoDB's time; return false if it does not differ enough to explain the error."""
        theirs = parse_http_date(error.date)
        skew = 0.0 if theirs is None else theirs - (self._clock() / 1e9 + self._skew)
        if abs(skew) < MAX_SKEW_SECONDS:
            return False
        self._skew += skew
        if self._chain is not None:
            self._chain.correct_clock(self._skew)
        return True

    def _wait_before_retry(self, error: SlttError, attempt: int, deadline: float, repeatable: bool) -> int:
        """Wait before the next attempt, and return its cost; raises the error if no attempt is left."""
        rule = rule_for(error)
        if rule is None:
            raise error
        if rule.maybe_carried_out and not repeatable:
            raise _outcome_unknown(error) from error
        seconds = wait_before(attempt, rule, self._random())
        too_late = self._steady_clock() + seconds >= deadline
        if attempt >= self._max_attempts or too_late or not self._quota.take(rule.cost):
            raise error
        self._pause(seconds)
        return rule.cost


def _units(consumed: Any, operation: str) -> tuple[float | None, float | None]:
    """Return the read and the write units in a response's `ConsumedCapacity`, which is for one table or a list of them.

    Only a transaction's response tells the two apart: it reads if it was carried out before. All units of another
    operation are of one kind.
    """
    if consumed is None:
        return None, None
    read = write = 0.0
    try:
        for one in consumed if isinstance(consumed, list) else [consumed]:
            units = float(one["CapacityUnits"])
            reading = float(one.get("ReadCapacityUnits", units if operation in READS else 0))
            read += reading
            write += units - reading
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NotDynamoDB("the response has no valid ConsumedCapacity") from None
    return read, write


def _outcome_unknown(error: SlttError) -> SlttError:
    """Return an `OutcomeUnknown` for an error after which the request may have been carried out."""
    if isinstance(error, OutcomeUnknown):
        return error
    return OutcomeUnknown(f"the request may have been carried out: {error.message}")


def default_endpoint(
    region: str, service: str = "dynamodb", *, use_fips: bool = False, use_dualstack: bool = False
) -> str:
    """Return the URL of a service in a region. `service` is the beginning of its host name.

    Source: botocore 1.44, `data/partitions.json` and the endpoint rule set of each service.
    """
    suffix, dual_suffix = next(
        (suffix, dual_suffix) for prefix, suffix, dual_suffix in _PARTITIONS if region.startswith(prefix)
    )
    # The endpoints of GovCloud are all FIPS endpoints; only those with dual stack have a name of their own.
    if use_fips and (use_dualstack or not region.startswith("us-gov-")):
        service += "-fips"
    return f"https://{service}.{region}.{dual_suffix if use_dualstack else suffix}"
