"""`RestApiServer`: the REST API on a port of this machine."""

from __future__ import annotations

import atexit
import logging
import signal
import socket
from ipaddress import IPv6Address
from threading import Thread
from time import sleep

import uvicorn

from sltt_core.api.app import NO_DESCRIPTOR, Api
from sltt_core.api.request_log import CallCounter, RequestLog
from sltt_core.base.errors import InvalidInput, ServerBusy, SlttError, StorageError, StorageUnavailable
from sltt_core.server.access_log import json_line
from sltt_core.server.allowed_hosts import AllowedHosts
from sltt_core.server.asgi import BODY_SECONDS, IDLE_SECONDS, KEEP_ALIVE_SECONDS, RESPONSE_SECONDS, AsgiApp
from sltt_core.server.bad_credentials import BadCredentials
from sltt_core.server.descriptors import room_for_connections, room_for_refused
from sltt_core.server.hosts import is_loopback
from sltt_core.server.load import MAX_CONNECTIONS, MAX_UNSENT_BYTES, Load, Refusals
from sltt_core.server.log_lines import ServerReports
from sltt_core.server.metrics import Metrics
from sltt_core.server.protocol import HEADER_SECONDS, UNREAD_SECONDS, bounded_protocol
from sltt_core.server.watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from sltt_core.api.access import Access, Authenticator
    from sltt_core.log.storage import BaseStorageService
    from sltt_core.server.access_log import AccessEntry, AccessLog
    from sltt_core.server.traces import Traces

SHUTDOWN_SECONDS = 10
"""Maximum time for requests in flight when the server stops."""
SEND_BUFFER_BYTES = 131_072
"""Bytes of a response that the system holds for each connection, apart from its own overhead. Without this, it takes
several megabytes, and a client that reads slowly seems to read nothing for a long time."""

_log = logging.getLogger("sltt.server")
_EVERY = RequestLog()


class RestApiServer:
    """Serves a storage, which it opens when it starts and closes when it stops.

    A `with` block, or `start` and `stop`, serve in a background thread. `serve_forever` serves in the caller's thread
    until a signal comes.
    """

    def __init__(
        self,
        *,
        storage: BaseStorageService,
        server_name: str = "sltt",
        port: int = 8080,
        host: str = "127.0.0.1",
        open_to_network: bool = False,
        allow_hosts: Sequence[str] = (),
        access: Access | None = None,
        authenticator: Authenticator | None = None,
        cors: Sequence[str] = (),
        access_log: AccessLog | None = None,
        header_seconds: float = HEADER_SECONDS,
        body_seconds: float = BODY_SECONDS,
        unread_seconds: float = UNREAD_SECONDS,
        keep_alive_seconds: int = KEEP_ALIVE_SECONDS,
        max_connections: int | None = None,
        max_unsent_bytes: int = MAX_UNSENT_BYTES,
        bad_credentials: BadCredentials | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Store the settings; `start` and `bind` open the port and the storage.

        `port` 0 selects a free port. `host` must be a loopback name or address unless `open_to_network` is true.
        `allow_hosts` are more names and addresses that a `Host` header may contain; without them, `open_to_network`
        accepts every one. `access` checks every action; by default all are allowed. `authenticator` verifies who sends
        a request; by default nobody does, and requests are anonymous. `cors` lists the origins whose pages may use the
        API. `header_seconds` and `body_seconds` bound the time to receive a request; `body_seconds` also bounds the
        time to send a response. A client that reads nothing of a response for `unread_seconds` is disconnected.
        `keep_alive_seconds` is how long a connection is kept for a further request. `max_connections` bounds the
        connections, by default 1,000 or as many as the limit of file descriptors allows; a server cannot raise that
        limit, which belongs to the process. `max_unsent_bytes` bounds the bytes of all responses that clients have not
        read. Beyond the last two, the response is a 503. `bad_credentials` delays the responses to an address that
        sends many bad credentials; tests replace its clock and its pause. `traces` creates
        spans of OpenTelemetry (extra `otel`). Raises `InvalidInput` for a setting that is
        not valid.
        """
        self._port = port
        self._host = host
        self._open_to_network = open_to_network
        self._allow_hosts = tuple(allow_hosts)
        AllowedHosts(self._allow_hosts)  # raises for one that is not valid
        self._storage = storage
        self._api = Api(
            storage,
            server_name,
            access=access,
            authenticator=authenticator,
            cors=cors,
            report=self._report,
            checks=(self._fault,),
        )
        self._access_log = access_log
        self._metrics = Metrics()
        self._traces = traces
        if traces is not None:
            traces.following = self._metrics
        self._counter = CallCounter(self._metrics if traces is None else traces)
        storage.observe(self._counter)
        self._header_seconds = header_seconds
        self._body_seconds = body_seconds
        self._unread_seconds = unread_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._max_connections = max_connections
        self._max_unsent_bytes = max_unsent_bytes
        self._bad_credentials = BadCredentials() if bad_credentials is None else bad_credentials
        self._refusals = Refusals(_log.error)
        self._uvicorn: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._thread: Thread | None = None
        self._reports: ServerReports | None = None
        self._watcher: Watcher | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
            return
        try:
            self.stop()
        except Exception as clean_up:  # the error of the block is the one to raise
            error.add_note(f"The server did not stop cleanly either: {clean_up!r}")

    @property
    def url(self) -> str:
        """The base URL of the server; raises `StorageError` when it is not bound."""
        if self._socket is None:
            raise StorageError("the server is not running")
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self, port: int | None = None, host: str | None = None, *, open_to_network: bool | None = None) -> None:
        """Open the storage and serve in a background thread; return when the server accepts requests.

        Arguments replace those of the constructor. Raises the errors of `bind`. Raises `StorageError` if the
        server ends before it serves. When the program ends without `stop`, the server stops and does not keep the
        process alive; `serve_forever` does.
        """
        self.bind(port, host, open_to_network=open_to_network)
        server, _ = self._bound()
        atexit.register(self.stop)
        self._thread = Thread(target=server.run, kwargs={"sockets": [self._socket]}, name="sltt-server", daemon=True)
        self._thread.start()
        while not server.started and self._thread.is_alive():
            sleep(0.005)
        if not server.started:
            self.stop()
            raise StorageError("the server ended before it served a request; the log of errors contains the reason")

    def bind(self, port: int | None = None, host: str | None = None, *, open_to_network: bool | None = None) -> None:
        """Listen on the port and open the storage, so that errors come before the first request is served.

        Arguments replace those of the constructor. Raises `InvalidInput` when the port is in use, or when other
        machines can reach the host and `open_to_network` is false; `StorageError` when the server is running already,
        or when the storage cannot be opened.
        """
        if self._socket is not None:
            raise StorageError(f"the server is running already, on {self.url}")
        port = self._port if port is None else port
        host = self._host if host is None else host
        open_to_network = self._open_to_network if open_to_network is None else open_to_network
        if not open_to_network and not is_loopback(host):
            raise InvalidInput(
                f"{host} can be reached from other machines, which could then read and write all projects",
                field="host",
                hint="Pass open_to_network (--open-to-network) to allow that.",
            )
        load, backlog = self._load(), room_for_refused()
        try:
            self._socket = _listen(host, port, backlog)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise InvalidInput(
                f"cannot listen on {host}, port {port}: {reason}",
                field="port",
                hint="Choose another port, or 0 for any free one."
                if isinstance(error, OSError) and not isinstance(error, socket.gaierror)
                else "Check the host and the port.",
            ) from error
        try:
            self._storage.initialize()
        except BaseException:
            self._socket.close()
            self._socket = None
            raise
        watcher = self._watcher = Watcher(self._storage, _report)
        app = AsgiApp(
            self._api,
            watcher,
            hosts=AllowedHosts(self._allow_hosts, every=open_to_network),
            report=_report_entry,
            access_log=self._access_log,
            idle_seconds=min(IDLE_SECONDS, self._body_seconds),
            body_seconds=self._body_seconds,
            response_seconds=min(RESPONSE_SECONDS, self._body_seconds),
            keep_alive_seconds=self._keep_alive_seconds,
            load=load,
            bad_credentials=self._bad_credentials,
            counter=self._counter,
            metrics=self._metrics,
            gauges=self._storage.gauges,
            traces=self._traces,
        )
        config = uvicorn.Config(
            app,
            http=bounded_protocol(
                app.problem,
                app.note,
                load,
                header_seconds=self._header_seconds,
                unread_seconds=min(self._unread_seconds, self._body_seconds),
            ),
            backlog=backlog,
            timeout_keep_alive=self._keep_alive_seconds,
            log_config=None,  # its own needs a stream and writes on the event loop: `ServerReports` does it
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            lifespan="on",
            ws="none",
        )
        self._uvicorn = _Server(config, watcher, self._bad_credentials)
        self._reports = ServerReports()
        self._reports.attach()

    def _bound(self) -> tuple[uvicorn.Server, socket.socket]:
        if self._uvicorn is None or self._socket is None:
            raise StorageError("the server does not listen", hint="Call bind() first.")
        return self._uvicorn, self._socket

    def serve_forever(self, ready: Callable[[str], None]) -> None:
        """Serve in this thread, after `bind`, until SIGINT or SIGTERM; then finish the requests in flight.

        `ready` is called with the URL as soon as a signal stops the server; from then on, requests are accepted.
        """
        uvicorn_server, listening = self._bound()

        def on_signal(number: int, frame: object) -> None:
            uvicorn_server.should_exit = True

        # uvicorn handles signals too, but raises them again, which would end the process before the storage is closed.
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            try:
                ready(self.url)
                uvicorn_server.run(sockets=[listening])
            except BaseException as error:
                try:
                    self._release()
                except Exception as clean_up:  # the first error is the one to raise
                    error.add_note(f"The server did not stop cleanly either: {clean_up!r}")
                raise
            self._release()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Finish the requests in flight, stop, and close the storage. Does nothing when the server is stopped."""
        if self._uvicorn is not None and self._thread is not None:
            self._uvicorn.should_exit = True
            self._thread.join()
            self._thread = None
            atexit.unregister(self.stop)
            self._release()

    @property
    def refused(self) -> dict[str, int]:
        """How many requests were refused since the start because the server had reached a limit, by the reason."""
        return dict(self._refusals.counts)

    def _load(self) -> Load:
        """Return the bounds of the connections; raises `InvalidInput` when they need more file descriptors."""
        room = room_for_connections()
        wanted = self._max_connections
        if wanted is None:
            wanted = MAX_CONNECTIONS if room is None else min(MAX_CONNECTIONS, room)
        elif wanted < 1 or (room is not None and wanted > room):
            raise InvalidInput(
                f"max_connections {wanted:,} is not possible: 1 to {room:,}, as the limit of file descriptors allows"
                if room is not None
                else f"max_connections {wanted:,} is not possible: at least 1",
                field="max_connections",
                hint="Raise the limit of file descriptors (ulimit -n), or allow fewer connections.",
            )
        return Load(wanted, self._max_unsent_bytes, max_refused=room_for_refused(), refusals=self._refusals)

    def _report(self, error: BaseException) -> None:
        if isinstance(error, ServerBusy) or (isinstance(error, StorageUnavailable) and error.message == NO_DESCRIPTOR):
            self._refusals.add(error.message)
        else:
            _report(error)

    def _fault(self) -> str | None:
        return None if self._watcher is None else self._watcher.fault()

    def _release(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._uvicorn = None
        try:
            self._storage.close()
        finally:
            if self._access_log is not None:
                self._access_log.flush()
            if self._reports is not None:
                self._reports.detach()
                self._reports = None


class _Server(uvicorn.Server):
    """A uvicorn server that ends waiting requests before it waits for the requests in flight."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher, bad_credentials: BadCredentials) -> None:
        super().__init__(config)
        self._watcher = watcher
        self._bad_credentials = bad_credentials

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._watcher.close()
        self._bad_credentials.close()
        await super().shutdown(sockets)


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    """Return a socket that listens. The address `::` stands for all of IPv6, and of IPv4 where the system allows it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        both = int(IPv6Address(host)) == 0 and socket.has_dualstack_ipv6()
    except ValueError:
        both = False
    listening = socket.create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=both)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listening


def _report(error: BaseException) -> None:
    """Log a bug with its traceback. The line of the request has the other errors."""
    if not isinstance(error, SlttError):
        _log.error("a request failed because of an error in the server", exc_info=error)


def _report_entry(entry: AccessEntry) -> None:
    _log.log(logging.ERROR if entry.status >= 500 else logging.INFO, "%s", json_line(_EVERY, entry))
