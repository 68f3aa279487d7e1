"""An S3 server's bad days: a proxy on 127.0.0.1 that spoils some of the requests it passes on.

    with FaultProxy("http://127.0.0.1:7480", odds={Fault.LATE: {"put": 0.05}}, seed=1) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint

Which request is spoilt, and how, is drawn from the seed in the order in which requests arrive.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from urllib.parse import urlsplit

from tests.servers.http_messages import Message, read_message, reset

REPLY = (
    "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n{body}"
)


class Fault(StrEnum):
    """What may happen to a request."""

    REPLY_DROPPED = "reply_dropped"
    """It is carried out; the client's connection is reset in place of the reply."""
    ERROR_AFTER = "error_after"
    """It is carried out; the client is told 500."""
    SLOW_DOWN = "slow_down"
    """It is answered 503 SlowDown and not passed on."""
    RESET = "reset"
    """The connection is reset and nothing is passed on."""
    REQUEST_CUT = "request_cut"
    """The server gets half of the body, then both sides are reset."""
    REPLY_CUT = "reply_cut"
    """The client gets half of the reply."""
    DELAYED = "delayed"
    """The reply comes up to `longest_delay` seconds late."""
    LATE = "late"
    """The client is reset at once; the server gets the request seconds later: a zombie's write."""
    CONFLICT = "conflict"
    """A conditional write is answered 409 ConditionalRequestConflict and not passed on."""


Odds = Mapping[Fault, Mapping[str, float]]
"""The probability of each fault by operation: `put`, `put_new` (conditional), `get`, `head`, `list`."""

WRITES = ("put", "put_new")
ANY = (*WRITES, "get", "head", "list")
POSSIBLE: dict[Fault, tuple[str, ...]] = {
    Fault.REQUEST_CUT: WRITES,
    Fault.LATE: WRITES,
    Fault.CONFLICT: ("put_new",),
    Fault.REPLY_CUT: ("get", "list"),
}
"""Operations that a fault can strike; all where none are named."""


def even_odds(probability: float, **of: float) -> dict[Fault, dict[str, float]]:
    """Every fault with one probability wherever it can strike; `of` names other ones."""
    return {
        fault: dict.fromkeys(POSSIBLE.get(fault, ANY), of.get(fault.value, probability))
        for fault in Fault
    }


def favouring(odds: Odds, fault: Fault, probability: float = 0.2) -> Odds:
    """The same, but for one fault."""
    return {**odds, fault: dict.fromkeys(POSSIBLE.get(fault, ANY), probability)}


class FaultProxy:
    """Serves from a thread of its own while it is entered."""

    def __init__(
        self,
        upstream: str,
        odds: Odds,
        seed: int = 0,
        longest_delay: float = 0.3,
        lateness: tuple[float, float] = (0.5, 3.0),
    ) -> None:
        where = urlsplit(upstream)
        assert where.hostname
        assert where.port
        self.upstream = (where.hostname, where.port)
        self.odds = odds
        self.longest_delay = longest_delay
        self.lateness = lateness
        self.counts: Counter[str] = Counter()
        """Requests by operation, under `fault` names those spoilt."""
        self._landed: dict[str, float] = {}
        self._landing = threading.Lock()
        self.refused_late = 0
        """Late writes that the server refused: another had been there before."""
        self.port = 0
        self._rng = random.Random(seed)
        self._late: set[asyncio.Task[None]] = set()
        # asyncio itself would let a waiting connection be collected.
        self._serving: set[asyncio.Task[None] | None] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        """What to name as the S3 endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def landed(self) -> dict[str, float]:
        """When the server had first accepted a write of a path, as of now: seconds since 1970."""
        with self._landing:
            return dict(self._landed)

    def settle(self, seconds: float = 30.0) -> None:
        """Wait until every late request has been delivered."""
        end = time.monotonic() + seconds
        while self._late and time.monotonic() < end:
            time.sleep(0.05)

    def _call(self, coroutine):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, request after request."""
        task = asyncio.current_task()
        self._serving.add(task)
        try:
            while request := await read_message(reader, continue_to=writer):
                if not await self._answer(request, writer):
                    break
        except (OSError, asyncio.IncompleteReadError):
            # A client that was killed, or a server that went away.
            reset(writer)
        except asyncio.CancelledError:
            # The proxy closes; asyncio would print the cancellation of each open connection.
            reset(writer)
        finally:
            self._serving.discard(task)
            with suppress(OSError):
                writer.close()

    async def _answer(self, request: Message, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection lives on."""
        operation = operation_of(request)
        fault = self._draw(operation)
        self.counts[operation] += 1
        if fault:
            self.counts[fault] += 1
        if fault is Fault.RESET:
            return reset(writer)
        if fault is Fault.SLOW_DOWN:
            return await _say(writer, "503 Slow Down", "SlowDown", request)
        if fault is Fault.CONFLICT:
            return await _say(writer, "409 Conflict", "ConditionalRequestConflict", request)
        if fault is Fault.REQUEST_CUT:
            await self._send_half(request)
            return reset(writer)
        if fault is Fault.LATE:
            task = asyncio.create_task(self._deliver_late(request))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return reset(writer)
        reply = await self._forward(request)
        if fault is Fault.REPLY_DROPPED:
            return reset(writer)
        if fault is Fault.ERROR_AFTER:
            return await _say(writer, "500 Internal Server Error", "InternalError", request)
        data = reply.head + reply.body
        if fault is Fault.REPLY_CUT:
            cut = len(reply.head) + len(reply.body) // 2 if reply.body else len(data) // 2
            writer.write(data[:cut])
            with suppress(OSError):
                await writer.drain()
            return False
        if fault is Fault.DELAYED:
            await asyncio.sleep(self._rng.uniform(0, self.longest_delay))
        writer.write(data)
        await writer.drain()
        return True

    def _draw(self, operation: str) -> Fault | None:
        drawn = self._rng.random()
        for fault, by_operation in self.odds.items():
            drawn -= by_operation.get(operation, 0.0)
            if drawn < 0:
                return fault
        return None

    async def _forward(self, request: Message) -> Message:
        """The server's reply to a whole request, on a connection of its own."""
        reader, writer = await asyncio.open_connection(*self.upstream)
        try:
            writer.write(request.head_without("expect", "connection", close=True) + request.body)
            await writer.drain()
            reply = await read_message(reader, replies_to=request.method)
            if reply is None:
                raise ConnectionResetError("the server closed without a reply")
            if request.method == "PUT" and reply.status == 200:
                with self._landing:
                    self._landed.setdefault(request.path, time.time())
            reply.head = reply.head_without("connection")
            return reply
        finally:
            writer.close()

    async def _send_half(self, request: Message) -> None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(*self.upstream)
            head = request.head_without("expect", "connection", close=True)
            writer.write(head + request.body[: len(request.body) // 2])
            await writer.drain()
            reset(writer)

    async def _deliver_late(self, request: Message) -> None:
        await asyncio.sleep(self._rng.uniform(*self.lateness))
        with suppress(OSError, asyncio.IncompleteReadError):
            reply = await self._forward(request)
            self.refused_late += reply.status in (409, 412)


def operation_of(request: Message) -> str:
    """`put`, `put_new`, `get`, `head`, `list`, or `other`, which is never spoilt."""
    if request.path.count("/") < 2 or request.path.endswith("/"):
        return "list" if "list-type=" in request.query else "other"
    if request.method == "PUT":
        return "put_new" if request.header("if-none-match") else "put"
    return {"GET": "get", "HEAD": "head"}.get(request.method, "other")


async def _say(writer: asyncio.StreamWriter, status: str, code: str, request: Message) -> bool:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>planted</Message></Error>"
    reply = REPLY.format(status=status, length=len(body), body=body)
    # A reply to HEAD has no body.
    writer.write((reply.removesuffix(body) if request.method == "HEAD" else reply).encode())
    await writer.drain()
    return True
