"""A language model's server: one request, sent until it is answered."""

import hashlib
import json
import os
import ssl
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import TypeVar

from openai import APIConnectionError, APIStatusError, APITimeoutError, DefaultHttpxClient, OpenAI

from factory.captions.asked import Asked, BadRequest
from factory.errors import ServerRefused, ServerUnavailable
from schemas.captions import Server

BUSY = frozenset({408, 409, 425, 429})
"""Codes after which the same request may succeed, beside all of 500 and above."""
OUT_OF_MONEY = "insufficient_quota"
"""A 429 that does not pass by itself."""
HIDDEN = "(key)"
"""What stands where a key stood."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0

T = TypeVar("T")

PATHS = {"chat": "/chat/completions", "completion": "/completions", "moderation": "/moderations"}
"""Where a kind of request goes. The package's own calls walk through every example of a chat to name its
fields, and build an object of each reply: as much as all the rest of a request.
"""


class LanguageServer:
    """An OpenAI-compatible server, by the `openai` package. Several threads may ask it at once."""

    def __init__(
        self,
        server: Server,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self._sleep, self._now = sleep, now
        # Servers of one's own ask for no key, and the package for some text.
        self._key = os.environ.get(server.key_variable) or "none"
        self._trusted = _trusted()
        self._clients: list[OpenAI] = []
        self._own = threading.local()

    def close(self) -> None:
        """End its connections."""
        for client in self._clients:
            client.close()

    @property
    def _client(self) -> OpenAI:
        """The calling thread's own: each request that shares a pool of connections waits for the pool's
        lock, and looks at all of its connections.
        """
        if not hasattr(self._own, "client"):
            # Its own retries know neither of our patience nor of a server that stays away.
            self._own.client = OpenAI(
                base_url=self.server.base_url,
                api_key=self._key,
                timeout=self.server.timeout_s,
                max_retries=0,
                http_client=DefaultHttpxClient(verify=self._trusted),
            )
            self._clients.append(self._own.client)
        return self._own.client

    def ask(self, asked: Asked) -> str:
        """The reply: a whole JSON object, whatever it says, without the key should it stand there.

        Sent again with growing pauses, or after as long as the server says, while it is busy, away or gives
        no whole reply. Raises `ServerUnavailable` where that lasts longer than `patience_s`,
        `ServerRefused` where no other request would fare better, `BadRequest` where this alone is wrong.
        """

        def sent(client: OpenAI) -> str:
            return _whole(self.hidden(client.post(PATHS[asked.kind], cast_to=str, body=asked.body)))

        return self.patiently(sent, asked)

    def patiently(self, act: Callable[[OpenAI], T], seed: object) -> T:
        """What `act` gets of the client, done again as `ask` says; `seed` spreads the pauses."""
        begun, tried = self._now(), 0
        while True:
            try:
                return self._tried(act)
            except _Later as later:
                tried += 1
                pause = later.after_s if later.after_s is not None else _pause(seed, tried)
                if self._now() - begun + pause > self.server.patience_s:
                    raise ServerUnavailable(
                        f"{self.server.base_url}: must answer within {self.server.patience_s:g} s, "
                        f"got {later} {tried} times"
                    ) from None
                self._sleep(pause)

    def _tried(self, act: Callable[[OpenAI], T]) -> T:
        try:
            return act(self._client)
        except APITimeoutError:
            raise _Later(f"no reply within {self.server.timeout_s:g} s") from None
        except APIConnectionError as error:
            raise _Later(f"no connection ({type(error.__cause__ or error).__name__})") from None
        except APIStatusError as error:
            raise self._refusal(error) from None

    def hidden(self, text: str) -> str:
        """What a server says is stored and shown, and some repeat the key that they were sent."""
        return text if self._key == "none" else text.replace(self._key, HIDDEN)

    def _refusal(self, error: APIStatusError) -> Exception:
        status, code = error.status_code, str(error.code or "")
        words = self.hidden(" ".join(str(error.message).split()))[:200]
        base = self.server.base_url
        if status == 429 and OUT_OF_MONEY in (code, str(error.type or "")):
            return ServerRefused(f"{base}: no money is left there: {words}")
        if status in BUSY or status >= 500:
            return _Later(f"status {status}", _after(error.response.headers.get("retry-after")))
        if status in (401, 403):
            return ServerRefused(
                f"{base}: must take the key in {self.server.key_variable}, got status {status}: {words}"
            )
        if status == 404:
            return ServerRefused(f"{base}: must know this model and path, got status 404: {words}")
        return BadRequest(f"the server does not take the request: status {status}: {words}")


def _whole(reply: str) -> str:
    """The reply, where it is a whole JSON object; a page of HTML or half an answer is none."""
    try:
        found = json.loads(reply)
    except (ValueError, RecursionError):
        raise _Later("a reply that is no JSON") from None
    if not isinstance(found, dict):
        raise _Later("a reply that is no JSON object")
    return reply


def _trusted() -> ssl.SSLContext:
    """What a client of the package trusts by itself, made once for all threads: it takes 40 ms."""
    # httpx of its older releases, httpx2 of its newer ones.
    its_http = import_module(DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
    found: ssl.SSLContext = its_http.create_ssl_context()
    return found


class _Later(Exception):
    """No answer this time."""

    def __init__(self, words: str, after_s: float | None = None) -> None:
        super().__init__(words)
        self.after_s = after_s
        """As long as the server asks to be left alone."""


def _pause(seed: object, tried: int) -> float:
    """Seconds before a request is sent again: doubled each time, and spread by the request's hash."""
    digest = hashlib.sha256(f"{seed}|{tried}".encode()).digest()
    share = 0.5 + int.from_bytes(digest[:4], "big") / 2**33
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (tried - 1)) * share


def _after(header: str | None) -> float | None:
    """Seconds by a Retry-After header: a number, or a date. None where it says nothing that can be used."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if seconds == seconds else None
