"""A language model's server that answers by rule, and misbehaves where it is told to."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, dict[str, Any]], Any]
"""From a path and a body to a `Says`, or to the text of a choice."""


@dataclass(frozen=True)
class Says:
    """A reply that is none of the ordinary."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    """Whether the connection ends in the middle."""
    hangs_s: float = 0.0
    """Silence before it."""


@dataclass
class LanguageModel:
    """What was asked of it."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    """What stood in Authorization."""

    @property
    def times(self) -> Counter[str]:
        """How often each request came."""
        return Counter(json.dumps(body, sort_keys=True) for body in self.asked)


@contextmanager
def language_server(answer: Answer) -> Iterator[LanguageModel]:
    """Serves on 127.0.0.1 until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                model.asked.append(body)
                model.keys.add(self.headers.get("authorization", ""))
            said = answer(self.path, body)
            if not isinstance(said, Says):
                said = Says(body=json.dumps(reply_to(self.path, body, said)).encode())
            time.sleep(said.hangs_s)
            self.send_response(said.status)
            headers = {"content-type": "application/json", "content-length": str(len(said.body))}
            for name, value in {**headers, **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # who was asked too long went away
                self.wfile.write(said.body[: len(said.body) // 2] if said.cut else said.body)
            if said.cut:
                self.close_connection = True

        def log_message(self, *words: object) -> None:
            """Silent."""

    lock = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    model = LanguageModel(f"http://127.0.0.1:{server.server_address[1]}/v1")
    # Where it serves to the end of a process, that end must not wait for it.
    serving = {"target": server.serve_forever, "kwargs": {"poll_interval": 0.05}}
    thread = threading.Thread(**serving, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply_to(path: str, body: Mapping[str, Any], text: Any) -> dict[str, Any]:
    """An ordinary reply."""
    if path.endswith("/moderations"):
        return {"id": "m", "model": body["model"], "results": text}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    reply = {"id": "r", "created": 0, "model": body["model"], "usage": usage}
    if path.endswith("/chat/completions"):
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return {**reply, "object": "chat.completion", "choices": [choice]}
    choice = {"index": 0, "finish_reason": "stop", "text": text, "logprobs": None}
    return {**reply, "object": "text_completion", "choices": [choice]}


def question(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the last message of a chat asks."""
    found: dict[str, Any] = json.loads(body["messages"][-1]["content"])
    return found


def green(path: str, body: dict[str, Any]) -> str:
    """Makes everything that is red green: right, in both forms."""
    if path.endswith("/completions") and "prompt" in body:
        caption = body["prompt"].removesuffix("\n##\n")
        return f"make it green\n%%\n{caption.replace('red', 'green')}\nEND"
    asked = question(body)
    edited = asked["caption"].replace("red", "green")
    answer = {"id": asked["id"], "edit": "make it green", "edited_caption": edited}
    return json.dumps(answer)
