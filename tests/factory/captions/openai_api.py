"""OpenAI's API over HTTP, as far as a stand-in answers it."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from schemas.captions import Server


@contextmanager
def served(answer):
    """Serves what `answer` gives of a method, a path and a body: a status, and JSON or bytes."""

    class Handler(BaseHTTPRequestHandler):
        def act(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            code, found = answer(self.command, self.path.split("?")[0], body)
            text = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = act  # noqa: N815
        do_POST = act  # noqa: N815

        def log_message(self, *words):
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Server(base_url=f"http://127.0.0.1:{server.server_address[1]}/v1", patience_s=60)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
