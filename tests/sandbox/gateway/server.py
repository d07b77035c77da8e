"""A server for the gateway's tests, as a pod runs it: says its name, streams, breaks off, gets unready when told."""

import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = sys.argv[1]
go, unready = threading.Event(), threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        action = {"/ready": self.ready, "/v1/stream": self.stream, "/v1/break": self.break_off, "/v1/wait": self.wait}
        action.get(self.path, self.name)()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.path == "/v1/go":
            go.set()
        if self.path == "/v1/unready":
            unready.set()
        self.say(200, f"{NAME} {body} {self.headers.get('Authorization', '')}")

    def name(self) -> None:
        self.say(200, NAME)

    def ready(self) -> None:
        self.say(503 if unready.is_set() else 200, "")

    def stream(self) -> None:
        """The second piece comes only after somebody has read the first one, and said so."""
        self.begin()
        self.piece(b"first")
        go.wait(20)
        self.piece(b"second")
        self.piece(b"")

    def break_off(self) -> None:
        self.begin()
        self.piece(b"first")
        self.close_connection = True

    def wait(self) -> None:
        go.wait(20)
        self.say(200, "late")

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def piece(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def say(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_args: object) -> None:
        """Quiet."""


ThreadingHTTPServer((os.environ["SANDBOX_POD_IP"], 8000), Handler).serve_forever()
