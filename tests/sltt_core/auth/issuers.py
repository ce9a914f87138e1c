"""An issuer's HTTP server on this machine, whose next responses a test decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Issuer:
    """What the server does: it returns `status`, `body` and `headers`, after a call of `before`."""

    def __init__(self, body: str) -> None:
        self.body = body
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requests: list[str] = []
        self.before: Callable[[], object] = lambda: None
        self.url = ""


@contextmanager
def running_issuer(body: str) -> Iterator[Issuer]:
    issuer = Issuer(body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(f"{self.command} {self.path}")
            issuer.before()
            content = issuer.body.encode()
            self.send_response(issuer.status)
            for name, value in {"content-length": str(len(content)), **issuer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}/keys?v=1"
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
