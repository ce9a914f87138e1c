"""`RestApiServer`: the REST API on a port of this machine."""

from __future__ import annotations

import atexit
import logging
import signal
import socket
from threading import Thread
from time import sleep

import uvicorn

from sltt_core.api.app import Api
from sltt_core.base.errors import InvalidInput, StorageError
from sltt_core.server.asgi import BODY_SECONDS, IDLE_SECONDS, AsgiApp
from sltt_core.server.hosts import is_loopback
from sltt_core.server.log_lines import ServerReports
from sltt_core.server.protocol import HEADER_SECONDS, bounded_protocol
from sltt_core.server.watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from sltt_core.api.access import Access
    from sltt_core.log.storage import BaseStorageService
    from sltt_core.server.access_log import AccessLog

SHUTDOWN_SECONDS = 10
"""How long requests in flight may take when the server stops."""

_log = logging.getLogger("sltt.server")


class RestApiServer:
    """Serves a storage, which it opens when it starts and closes when it stops.

    A `with` block runs it beside the caller, and so do `start` and `stop`. `serve_forever` runs it instead of the
    caller until a signal comes.
    """

    def __init__(
        self,
        *,
        storage: BaseStorageService,
        server_name: str = "sltt",
        port: int = 8080,
        host: str = "127.0.0.1",
        open_to_network: bool = False,
        access: Access | None = None,
        cors: Sequence[str] = (),
        access_log: AccessLog | None = None,
        header_seconds: float = HEADER_SECONDS,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        """Take the settings; nothing is opened yet.

        `port` 0 takes any free one. `host` must be an address of this machine alone unless `open_to_network` is true.
        `access` decides who may do what; by default everybody may do everything. `cors` lists the origins whose pages
        may use the API. `header_seconds` and `body_seconds` bound how slowly a request may come; `body_seconds` also
        bounds how slowly a response may be read.
        """
        self._port = port
        self._host = host
        self._open_to_network = open_to_network
        self._storage = storage
        self._api = Api(storage, server_name, access=access, cors=cors, report=_report, checks=(self._fault,))
        self._access_log = access_log
        self._header_seconds = header_seconds
        self._body_seconds = body_seconds
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
        """Where the server is reached, once it is bound; raises `StorageError` before and after."""
        if self._socket is None:
            raise StorageError("the server is not running")
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self, port: int | None = None, host: str | None = None, *, open_to_network: bool | None = None) -> None:
        """Open the storage and serve in the background; returns when requests get responses.

        What is given replaces what the constructor was given. Raises what `bind` raises, and `StorageError` when the
        server ends before it serves. When the program ends without `stop`, the server stops as with it: it does not
        keep the process alive. `serve_forever` does.
        """
        self.bind(port, host, open_to_network=open_to_network)
        assert self._uvicorn is not None
        atexit.register(self.stop)
        self._thread = Thread(
            target=self._uvicorn.run, kwargs={"sockets": [self._socket]}, name="sltt-server", daemon=True
        )
        self._thread.start()
        while not self._uvicorn.started and self._thread.is_alive():
            sleep(0.005)
        if not self._uvicorn.started:
            self.stop()
            raise StorageError("the server ended before it served a request; the log of errors contains the reason")

    def bind(self, port: int | None = None, host: str | None = None, *, open_to_network: bool | None = None) -> None:
        """Take the port and open the storage, so that what can go wrong goes wrong before anything is served.

        What is given replaces what the constructor was given. Raises `InvalidInput` when the port is taken, or when
        other machines reach the host and `open_to_network` is false; `StorageError` when the server runs already, or
        when the storage does not open.
        """
        if self._socket is not None:
            raise StorageError(f"the server is running already, on {self.url}")
        port = self._port if port is None else port
        host = self._host if host is None else host
        open_to_network = self._open_to_network if open_to_network is None else open_to_network
        if not open_to_network and not is_loopback(host):
            raise InvalidInput(
                f"{host} can be reached from other machines, and everybody there could read and write everything",
                field="host",
                hint="Pass open_to_network (--open-to-network) if that is what you want.",
            )
        try:
            self._socket = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
            )
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise InvalidInput(
                f"cannot listen on {host}, port {port}: {reason}",
                field="port",
                hint="Choose another port, or 0 for any free one."
                if isinstance(error, OSError) and not isinstance(error, socket.gaierror)
                else "Look at the host and the port.",
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
            loopback_only=not open_to_network,
            access_log=self._access_log,
            idle_seconds=min(IDLE_SECONDS, self._body_seconds),
            body_seconds=self._body_seconds,
        )
        config = uvicorn.Config(
            app,
            http=bounded_protocol(app.refuse, self._header_seconds, self._body_seconds),
            log_config=None,  # its own needs a stream and writes on the event loop: `ServerReports` does it
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            lifespan="on",
            ws="none",
        )
        self._uvicorn = _Server(config, watcher)
        self._reports = ServerReports()
        self._reports.attach()

    def serve_forever(self, ready: Callable[[str], None]) -> None:
        """Serve in this thread, after `bind`, until SIGINT or SIGTERM; requests in flight are finished first.

        `ready` is called with the URL as soon as a signal would stop the server; requests are queued from then on.
        """
        assert self._uvicorn is not None
        assert self._socket is not None
        uvicorn_server = self._uvicorn

        def on_signal(number: int, frame: object) -> None:
            uvicorn_server.should_exit = True

        # uvicorn heeds signals too, but then raises them again, which would end us before the storage is closed.
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            try:
                ready(self.url)
                uvicorn_server.run(sockets=[self._socket])
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
        """Finish the requests in flight, then stop and close the storage. Twice does no harm."""
        if self._uvicorn is not None and self._thread is not None:
            self._uvicorn.should_exit = True
            self._thread.join()
            self._thread = None
            atexit.unregister(self.stop)
            self._release()

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
    """uvicorn, letting those who wait go before it waits for them."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher) -> None:
        super().__init__(config)
        self._watcher = watcher

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._watcher.close()
        await super().shutdown(sockets)


def _report(error: BaseException) -> None:
    _log.error("a request failed here, not through its own fault", exc_info=error)
