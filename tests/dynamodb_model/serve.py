"""Serves the model on a port of this machine: `python -m tests.dynamodb_model.serve --port 8000`. Ctrl-C stops it."""

from __future__ import annotations

import argparse
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time

from scripts.pipes import run_program
from tests.dynamodb_model.model import Model
from tests.dynamodb_model.wire import Request, carry_out


class ModelServer(ThreadingHTTPServer):
    """Serves one model. It carries out one request at a time."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        self.model = Model(time)
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # without a DNS query for the name of this machine
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ModelServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        request = Request(f"POST / HTTP/1.1\r\n{lines}\r\n".encode("ascii") + body)
        with self.server.lock:
            response = carry_out(self.server.model, request)
        headers = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        self.wfile.write(f"HTTP/1.1 {response.status} \r\n{headers}\r\n".encode("ascii") + response.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.dynamodb_model.serve",
        description="Serve the model of DynamoDB on a port of this machine. Ctrl-C stops it; its data is lost then.",
        epilog="example: python -m tests.dynamodb_model.serve --port 8000",
    )
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any free port")
    port = parser.parse_args().port
    try:
        model_server = ModelServer(port)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on port {port}: {error}")
    with model_server as server:
        print(f"the model runs at {server.url} (Ctrl-C stops it)", flush=True)
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    run_program(main)
