"""The ASGI adapter (https://asgi.readthedocs.io): reads a body within limits and lets a thread handle the request.

Only the waiting for clients and for changes is asynchronous, so that a client that waits for a change uses no thread.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic

from sltt_core.api.http import MAX_BODY_BYTES, MAX_WAIT_SECONDS, Facts, Request, Response
from sltt_core.api.problems import described
from sltt_core.api.request_log import CallCounter
from sltt_core.api.waiting import Waiting
from sltt_core.base.errors import (
    InvalidInput,
    PayloadTooLarge,
    RequestTimeout,
    ServerBusy,
    SlttError,
    StorageBusy,
    StorageUnavailable,
)
from sltt_core.server.access_log import AccessEntry
from sltt_core.server.bad_credentials import BadCredentials
from sltt_core.server.lanes import PROBE, READ, THREADS, WRITE, Lanes, lane_of
from sltt_core.server.load import SLICE_BYTES, Load
from sltt_core.server.metrics import PATH as METRICS_PATH
from sltt_core.server.metrics import Metrics, metrics_response
from sltt_core.server.protocol import EXTENSION
from sltt_core.server.sending import Sending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future as Job
    from typing import Any

    from sltt_core.api.app import Api
    from sltt_core.api.http import Wait
    from sltt_core.server.access_log import AccessLog
    from sltt_core.server.allowed_hosts import AllowedHosts
    from sltt_core.server.protocol import BoundedProtocol
    from sltt_core.server.sending import Receive, Send
    from sltt_core.server.traces import Traces
    from sltt_core.server.watcher import Watcher

WORKERS = sum(THREADS.values())
"""Threads that handle requests."""
QUEUE_SECONDS = 10.0
"""How long a request may wait for a thread; nothing has been done for it then."""
PROMPT_SECONDS = 1.0
"""A request that waits longer than that for a thread gets its response within `BUSY_SECONDS`."""
BUSY_SECONDS = 12.0
"""How long such a request may take, from its arrival on."""
LONGEST_SECONDS = 60.0
"""How long any other may take: the storages end their own waiting much earlier."""
READY_SECONDS = 5.0
"""How long `/ready` waits for the storage."""
LIGHT_BYTES = 64_000
"""A larger or compressed body is heavy: it may occupy a thread for a while and take 40 times its size in memory."""
HEAVY_WORKERS = 4
"""Maximum number of requests with heavy bodies at a time; the other threads stay free for other requests."""
IDLE_SECONDS = 20.0
"""Maximum time for the next piece of a body."""
BODY_SECONDS = 300.0
"""Maximum time for the whole body: enough for 4 MB at 14 kB/s."""
RESPONSE_SECONDS = 300.0
"""Maximum time for a client to read a response that is not a stream."""
KEEP_ALIVE_SECONDS = 75
"""How long a connection is kept for a further request: longer than the 60 s of common proxies. The party that is not
the last to send a request should close it, or a request may meet a closed connection."""


class ClientGone(Exception):
    """The client closed the connection before it got its response."""


class AsgiApp:
    """An ASGI application around an `Api`."""

    def __init__(
        self,
        api: Api,
        watcher: Watcher,
        *,
        hosts: AllowedHosts,
        report: Callable[[AccessEntry], None],
        access_log: AccessLog | None = None,
        idle_seconds: float = IDLE_SECONDS,
        body_seconds: float = BODY_SECONDS,
        response_seconds: float = RESPONSE_SECONDS,
        keep_alive_seconds: int = KEEP_ALIVE_SECONDS,
        load: Load | None = None,
        bad_credentials: BadCredentials | None = None,
        counter: CallCounter | None = None,
        metrics: Metrics | None = None,
        gauges: Callable[[], dict[str, float]] = dict,
        traces: Traces | None = None,
    ) -> None:
        """`hosts` decides which `Host` headers are accepted. `bad_credentials` delays refusals.

        `counter` is the observer of the storage, which counts the calls of each request. `metrics` are shown at
        `/metrics`, with what `gauges` returns, which may read files. `traces` creates a span for each request.
        `report` is called for a request with an error that concerns the operator, if there is no access log.
        `idle_seconds` and `body_seconds` bound the time for the next piece of a body and for the whole body;
        `response_seconds` the time to read a response. `keep_alive_seconds` is told to clients.
        """
        self._api = api
        self._watcher = watcher
        self._hosts = hosts
        self._report = report
        self._access_log = access_log
        self._counter = CallCounter() if counter is None else counter
        self._metrics = Metrics() if metrics is None else metrics
        self._gauges = gauges
        self._traces = traces
        self._lag: asyncio.Task[None] | None = None
        self._lanes = Lanes()
        self._heavy = asyncio.Semaphore(HEAVY_WORKERS)
        self._idle_seconds = idle_seconds
        self._body_seconds = body_seconds
        self._response_seconds = response_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._load = Load() if load is None else load
        self._bad_credentials = BadCredentials() if bad_credentials is None else bad_credentials

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, or the start and the end of the server (ASGI lifespan)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            begin = monotonic() if self._access_log is None else self._access_log.steady_clock()
            request = _request(scope)
            connection: BoundedProtocol | None = scope.get("extensions", {}).get(EXTENSION)
            try:
                response = await self._respond(request, receive, connection, (scope.get("client") or (None,))[0])
            except ClientGone:
                return
            with_body = request.method != "HEAD"
            size = len(response.body) if with_body and isinstance(response.body, bytes) else 0
            if size > SLICE_BYTES and connection is not None and not self._load.hold(connection, size):
                written = request.method == "POST"
                error = StorageUnavailable(f"{_UNREAD}; the changes may have been written") if written else None
                response = self._api.problem(error or ServerBusy(_UNREAD), request)
            keeps = _keeps_alive(scope["http_version"], request, response)
            sending = Sending(
                response,
                receive,
                send,
                self._lanes[READ],
                connection=connection,
                keep_alive=self._keep_alive_seconds if keeps else None,
            )
            try:
                async with asyncio.timeout(self._response_seconds if isinstance(response.body, bytes) else None):
                    await sending.run(with_body=with_body)
            except TimeoutError:
                if connection is None:
                    raise
                connection.abort()
            except asyncio.CancelledError:  # the time for requests in flight is up, because the server stops
                if connection is None:
                    raise
                connection.abort()
            finally:
                if connection is not None:
                    self._load.release(connection)
                self._note(request, response, sending.size, begin)

    def problem(self, error: SlttError) -> Response:
        """Return the response to bytes that are not a valid request."""
        if isinstance(error, InvalidInput) and error.field == "request" and not error.hint:
            error.hint = _NOT_HTTP_HINT
        return self._api.problem(error, _NO_REQUEST)

    def note(self, response: Response) -> None:
        """Log such a response."""
        self._note(_NO_REQUEST, response, len(response.content), None)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._lanes.start()
                self._lag = asyncio.ensure_future(self._metrics.measure_lag())
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                if self._lag is not None:
                    self._lag.cancel()
                self._lanes.shutdown()
                return

    async def _respond(
        self, request: Request, receive: Receive, connection: BoundedProtocol | None, peer: str | None
    ) -> Response:
        refusal = self._hosts.refusal(request, peer)
        if refusal is not None:
            return _last(self._api.failed(refusal, request))
        try:
            if int(request.headers.get("content-length", "0")) > MAX_BODY_BYTES:  # the parser has checked its form
                raise _too_large()
            async with asyncio.timeout(self._body_seconds):
                body = await self._read_body(receive)
        except TimeoutError:
            return _last(self._api.problem(RequestTimeout("the request's body arrived too slowly"), request))
        except PayloadTooLarge as error:
            return _last(self._api.problem(error, request))
        request = request.replace(body=body, max_wait=MAX_WAIT_SECONDS)
        loop = asyncio.get_running_loop()
        shows = request.path == METRICS_PATH
        response = await self._handle(request, partial(self._show_metrics, request, peer) if shows else None)
        begin = loop.time()
        waiting = Waiting(response.wait, begin)
        while (
            response.wait is not None
            and (seconds := waiting.seconds_left(response.wait, loop.time()))
            and not self._watcher.closed
        ):
            if connection is not None and connection.half_closed:
                break  # it cannot be told whether the client still waits, but it may still read
            await self._wait(response.wait, seconds, receive)
            response = await self._handle(request.replace(waited=round(loop.time() - begin, 3)))
        delay = self._bad_credentials.count(request, response, peer)
        if delay and not self._watcher.closed and not await self._bad_credentials.wait(delay, receive):
            raise ClientGone
        return response

    async def _handle(self, request: Request, call: Callable[[], Response] | None = None) -> Response:
        """Let a thread of its lane handle the request, or `call` for it, within a time that counts from now."""
        arrival = asyncio.get_running_loop().time()
        lane = lane_of(request)
        gate = self._heavy if len(request.body) > LIGHT_BYTES or "content-encoding" in request.headers else None
        try:
            if gate is not None:
                async with asyncio.timeout(QUEUE_SECONDS):
                    await gate.acquire()
            try:
                job = self._lanes[lane].submit(call or partial(self._handle_counted, request))
            except BaseException:
                if gate is not None:
                    gate.release()
                raise
        except TimeoutError:
            return self._api.problem(StorageBusy(_BUSY), request)
        except RuntimeError:
            return _last(self._api.problem(StorageBusy("the server is stopping; nothing was written"), request))
        handled = asyncio.wrap_future(job)
        # The thread may still be at work when the time is up, or when the client has gone.
        handled.add_done_callback(_ignore)
        if gate is not None:
            handled.add_done_callback(lambda _: gate.release())
        error = await _until_handled(handled, job, lane, arrival)
        return handled.result() if error is None else self._api.failed(error, request)

    def _handle_counted(self, request: Request) -> Response:
        self._counter.count_for(request.facts)
        try:
            if self._traces is not None:
                return self._traces.handle(request, partial(self._api.handle, request))
            return self._api.handle(request)
        finally:
            self._counter.count_for(None)

    def _show_metrics(self, request: Request, peer: str | None) -> Response:
        if request.facts is not None:
            request.facts.route = f"GET {METRICS_PATH}"
        own = {
            "connections": self._load.connections,
            "waiting_clients": self._watcher.waiting,
            "unsent_bytes": self._load.unsent,
            "log_lines_dropped": 0 if self._access_log is None else self._access_log.dropped,
            "refused": sum(self._load.refusals.counts.copy().values()),
        }
        return metrics_response(self._api, request, peer, self._metrics.text({**own, **self._gauges()}))

    async def _wait(self, wait: Wait, seconds: float, receive: Receive) -> None:
        """Wait for a change or the end of the time; raises `ClientGone` when the client closes the connection."""
        change = asyncio.ensure_future(self._watcher.wait(wait.cursors, seconds))
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((change, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and gone.result()["type"] == "http.disconnect":
                raise ClientGone
        finally:
            for task in (change, gone):
                task.cancel()
            await asyncio.gather(change, gone, return_exceptions=True)

    async def _read_body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            async with asyncio.timeout(self._idle_seconds):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise _too_large()
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _note(self, request: Request, response: Response, size: int, begin: float | None) -> None:
        now = monotonic if self._access_log is None else self._access_log.steady_clock
        seconds = 0.0 if begin is None else now() - begin
        self._metrics.count(request, response.status, size, seconds)
        entry = AccessEntry(
            request,
            response.status,
            size,
            seconds,
            response.header("x-request-id") or "-",
            None if response.error is None else described(response.error, messages=True),
        )
        if self._access_log is not None:
            self._access_log.write(entry)
        elif entry.error is not None:
            self._report(entry)


_NOT_HTTP_HINT = "In the URL, percent-encode spaces and what is not ASCII: 日本 is %E6%97%A5%E6%9C%AC."
_NO_REQUEST = Request("-", "-")
_UNREAD = "the server has no memory for this response: clients have not read too many bytes of earlier ones"
_BUSY = "the server had no thread for the request in time; nothing was written"


async def _until_handled(
    handled: asyncio.Future[Response], job: Job[Response], lane: str, arrival: float
) -> SlttError | None:
    """Wait for a job; return the error to report when its time is up first."""
    loop = asyncio.get_running_loop()

    async def done_within(seconds: float) -> bool:
        await asyncio.wait((handled,), timeout=max(arrival + seconds - loop.time(), 0))
        return handled.done()

    if await done_within(PROMPT_SECONDS):
        return None
    limit = READY_SECONDS if lane == PROBE else LONGEST_SECONDS
    if not job.running():
        limit = min(limit, BUSY_SECONDS)
        if await done_within(min(limit, QUEUE_SECONDS)):
            return None
        if job.cancel():
            return StorageBusy(_BUSY)
    if await done_within(limit):
        return None
    written = "; the changes may have been written" if lane == WRITE else ""
    return StorageUnavailable(f"the storage did not respond within {limit:g} seconds{written}")


def _ignore(handled: asyncio.Future[Response]) -> None:
    """Mark the error of a job as seen: asyncio logs it otherwise, when the client does not wait any more."""
    if not handled.cancelled():
        handled.exception()


def _request(scope: dict[str, Any]) -> Request:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        name, value = name.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return Request(scope["method"], path, query, headers, facts=Facts())


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {MAX_BODY_BYTES:,} bytes")


def _keeps_alive(version: str, request: Request, response: Response) -> bool:
    """Return whether the connection is kept after the response (RFC 9112, section 9.3)."""
    options = [option.strip() for option in request.headers.get("connection", "").lower().split(",")]
    return version == "1.1" and "close" not in options and response.header("connection") != "close"


def _last(response: Response) -> Response:
    """Make a response the last of its connection, because the rest of the request's body is not read."""
    return response.replace(headers=(*response.headers, ("connection", "close")))
