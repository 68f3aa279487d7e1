"""A write whose bytes are kept back, at a server that looks for the key when it has the head."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from factory.storage.s3.store import S3Store

from .crooked import answer


class EarlyHandler(BaseHTTPRequestHandler):
    """One bucket in memory, as Swift has it: whether a key is free is known before the bytes are here."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    is_free = True

    def handle_expect_100(self) -> bool:
        self.is_free = self.path not in self.objects
        return super().handle_expect_100()

    def do_PUT(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.is_free:
            answer(412, "PreconditionFailed")(self, b"")
            return
        self.objects[self.path] = body
        self.send_response(200)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    handler = type("Handler", (EarlyHandler,), {"objects": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    yield S3Store("s3://bucket/run")
    server.shutdown()
    thread.join()
    server.server_close()


def test_another_writer_comes_between_the_request_and_its_bytes(early: S3Store) -> None:
    won: list[bool] = []
    assert early.put_new_across("a", b"first", lambda: won.append(early.put_new("a", b"second")))
    assert won == [True]
    # One after the other it keeps its word.
    assert not early.put_new("a", b"third")
    assert not early.put_new_across("a", b"fourth", lambda: None)
