"""A write whose bytes are kept back, at a server that looks for the key when it has the head."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from factory.storage.s3.held_body import BEFORE_SEND, HeldBody
from factory.storage.s3.store import S3Store
from tests.servers.fixtures import S3Access

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
    S3Access(f"http://127.0.0.1:{server.server_port}", "none", "none").export(monkeypatch)
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


def test_a_try_that_failed_before_its_bytes_were_read_does_not_let_the_next_one_wait(
    early: S3Store,
) -> None:
    came: list[str] = []
    body = HeldBody(b"bytes", lambda: came.append("another"))
    with body.sent_by(early.client):
        send = early.client.meta.events.emit
        send(BEFORE_SEND, request=None)
        body.seek(0)
        assert body.read() == b"bytes"  # to be signed again
        assert not came
        body.seek(0)
        send(BEFORE_SEND, request=None)
        assert (body.read(), came) == (b"bytes", ["another"])


def test_requests_of_other_threads_keep_nothing_back(early: S3Store) -> None:
    body = HeldBody(b"bytes", lambda: pytest.fail("was sent"))
    with body.sent_by(early.client):
        other = threading.Thread(
            target=early.client.meta.events.emit, args=(BEFORE_SEND,), kwargs={"request": None}
        )
        other.start()
        other.join()
        assert body.read() == b"bytes"
