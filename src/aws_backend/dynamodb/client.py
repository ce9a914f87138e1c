"""`DynamoDBClient`: `client.call("Query", {...})`, signed, sent, checked and tried again where that helps.

DynamoDB's HTTP API takes a JSON object by POST and names the operation in a header (AWS: "DynamoDB low-level API").
"""

from __future__ import annotations

from binascii import crc32
from json.decoder import JSONDecoder
from json.encoder import JSONEncoder, c_make_encoder, encode_basestring  # type: ignore[attr-defined]

from aws_backend.dynamodb.errors import ClockSkewed, error_of
from aws_backend.dynamodb.retry import (
    MAX_ATTEMPTS,
    RetryQuota,
    may_have_been_carried_out,
    rule_for,
    wait_before,
)
from aws_backend.dynamodb.sigv4 import RequestSigner
from aws_backend.dynamodb.tls import amazon_tls
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

CALL_SECONDS = 10.0
"""How long a call may take with all its attempts, unless the caller says otherwise."""
MAX_SKEW_SECONDS = 240
"""A clock further from DynamoDB's than this is corrected; DynamoDB refuses at 300."""

READS = frozenset(
    {
        "BatchGetItem",
        "DescribeContinuousBackups",
        "DescribeEndpoints",
        "DescribeLimits",
        "DescribeTable",
        "DescribeTimeToLive",
        "GetItem",
        "ListTables",
        "ListTagsOfResource",
        "Query",
        "Scan",
        "TransactGetItems",
    }
)
"""Operations that may be repeated without harm."""
UNMETERED = frozenset(
    {
        "CreateTable",
        "DescribeContinuousBackups",
        "DescribeEndpoints",
        "DescribeLimits",
        "DescribeTable",
        "DescribeTimeToLive",
        "ListTables",
        "ListTagsOfResource",
    }
)
"""Operations that consume no capacity units and refuse to be asked for them."""

# JSONEncoder.encode and json.loads in a third of their calls: the C encoder and the C scanner, made once.
_encode: Callable[[Any, int], tuple[str, ...]] = c_make_encoder(
    None, JSONEncoder().default, encode_basestring, None, ":", ",", False, False, False
)
_scan: Callable[[str, int], tuple[Any, int]] = JSONDecoder().scan_once  # type: ignore[attr-defined]


def _parse(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
        response, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError):
        raise BadResponse("the answer is not JSON") from None
    if end != len(text) or type(response) is not dict:
        raise BadResponse("the answer is not a JSON object")
    return response


class DynamoDBClient:
    """Calls DynamoDB in one region, or a local one at an endpoint. Safe for use by several threads."""

    def __init__(
        self,
        region: str,
        credentials: Callable[[], Credentials],
        *,
        endpoint: str | None = None,
        max_attempts: int = MAX_ATTEMPTS,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """`credentials` is called before every request. `endpoint` is a URL, by default the region's.

        Deadlines are times of `runtime.steady_clock`. With `runtime.observer`, DynamoDB is asked to report the
        capacity that each call consumes.
        """
        self.region = region
        self.endpoint = endpoint or default_endpoint(region)
        origin = parse_origin(self.endpoint)
        make = runtime.transport
        self._transport: HttpTransport = (
            HttpTransport(origin, tls=(amazon_tls, system_tls), steady_clock=runtime.steady_clock)
            if make is None
            else make(origin, CALL_SECONDS)
        )
        self._signer = RequestSigner(region, "dynamodb", origin.authority)
        self._credentials = credentials
        self._max_attempts = max_attempts
        self._clock = runtime.clock
        self._steady_clock = runtime.steady_clock
        self._pause = runtime.pause
        self._random = runtime.random
        self._observer = runtime.observer
        self._quota = RetryQuota()
        self._skew = 0.0
        """Seconds that DynamoDB's clock is ahead of ours."""

    def call(
        self,
        operation: str,
        payload: Mapping[str, Any],
        *,
        deadline: float | None = None,
        repeatable: bool | None = None,
    ) -> dict[str, Any]:
        """Call an operation and return its answer, both as DynamoDB's JSON.

        Tried again are failures of the table in `retry`, until the deadline. A request that may have been carried
        out is repeated only when it is `repeatable`: by default reads, and transactions with a request token.
        Raises `DynamoDBError` for what DynamoDB refuses, `TransportError` for what did not reach it, and
        `OutcomeUnknown` where nobody can tell.
        """
        if deadline is None:
            deadline = self._steady_clock() + CALL_SECONDS
        if repeatable is None:
            repeatable = operation in READS or "ClientRequestToken" in payload
        if self._observer is not None:
            return self._observed(self._observer, operation, payload, deadline, repeatable)
        return self._call(operation, payload, deadline, repeatable, [0])

    def _observed(
        self, observer: Observer, operation: str, payload: Mapping[str, Any], deadline: float, repeatable: bool
    ) -> dict[str, Any]:
        """Make a call, and notify the observer of it."""
        begin = self._steady_clock()
        attempts = [0]
        units: float | None = None
        if operation not in UNMETERED:
            payload = {**payload, "ReturnConsumedCapacity": "TOTAL"}
        try:
            response = self._call(operation, payload, deadline, repeatable, attempts)
            units = _units(response.pop("ConsumedCapacity", None))
            return response
        finally:
            observer.on_call(operation, attempts[0], self._steady_clock() - begin, units)

    def _call(
        self, operation: str, payload: Mapping[str, Any], deadline: float, repeatable: bool, attempts: list[int]
    ) -> dict[str, Any]:
        """Make a call with as many attempts as it takes; `attempts` holds their number."""
        body = "".join(_encode(payload, 0)).encode()
        cost = 0
        corrected = False
        while True:
            attempts[0] += 1
            try:
                response = self._attempt(operation, body, deadline, repeatable)
            except ClockSkewed as error:
                if corrected or not self._correct_clock(error):
                    raise
                corrected = True
            except SlttError as error:
                cost = self._before_next(error, attempts[0], deadline, repeatable)
            else:
                if not self._quota.full:
                    self._quota.give_back(cost or 1)
                return response

    def warm(self, seconds: float = CALL_SECONDS) -> None:
        """Have credentials and a connection ready before the first call."""
        self._credentials()
        self._transport.warm(self._steady_clock() + seconds)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _attempt(self, operation: str, body: bytes, deadline: float, repeatable: bool) -> dict[str, Any]:
        now = self._clock() / 1e9 + self._skew
        head = self._signer.head(self._credentials(), f"DynamoDB_20120810.{operation}", body, now)
        response = self._transport.send(head + body, deadline=deadline, repeatable=repeatable)
        checksum = response.headers.get("x-amz-crc32")
        if checksum is not None and checksum != str(crc32(response.body)):
            raise BadResponse("the answer's checksum is wrong")
        if response.status == 200:
            return _parse(response.body)
        error = error_of(response.status, response.body, response.headers.get("x-amzn-requestid"))
        if isinstance(error, ClockSkewed):
            error.date = response.headers.get("date", "")
        raise error

    def _correct_clock(self, error: ClockSkewed) -> bool:
        """Take over DynamoDB's time, if it really is another than ours."""
        theirs = parse_http_date(error.date)
        skew = 0.0 if theirs is None else theirs - (self._clock() / 1e9 + self._skew)
        if abs(skew) < MAX_SKEW_SECONDS:
            return False
        self._skew += skew
        return True

    def _before_next(self, error: SlttError, attempt: int, deadline: float, repeatable: bool) -> int:
        """Wait until the next attempt and return what it costs; raises the error where there is none."""
        rule = rule_for(error)
        if rule is None:
            raise error
        if rule.carried_out and not repeatable:
            raise _unknown(error) from error
        seconds = wait_before(attempt, rule, self._random())
        late = self._steady_clock() + seconds >= deadline
        if attempt >= self._max_attempts or late or not self._quota.take(rule.cost):
            raise _unknown(error) if may_have_been_carried_out(error) and not repeatable else error
        self._pause(seconds)
        return rule.cost


def _units(consumed: Any) -> float | None:
    """Return the capacity units of a response's `ConsumedCapacity`: of one table, or a list of them."""
    if consumed is None:
        return None
    return sum([float(one["CapacityUnits"]) for one in (consumed if isinstance(consumed, list) else [consumed])])


def _unknown(error: SlttError) -> SlttError:
    """Say of an error that the request may have been carried out."""
    if isinstance(error, OutcomeUnknown):
        return error
    return OutcomeUnknown(f"the request may have been carried out: {error.message}")


def default_endpoint(region: str) -> str:
    """Return the URL of DynamoDB in a region (AWS: "Amazon DynamoDB endpoints and quotas")."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://dynamodb.{region}.{suffix}"
