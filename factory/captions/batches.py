"""Requests handed over by OpenAI's batch API, at half the price; their replies are stored as any other.

A batch makes nothing: it brings replies that the stage would ask for one by one, and the stage finds them
stored. What no batch brought is asked for in the ordinary way. Nothing is kept here of what was handed
over: a later start finds its batches at the server by the run's mark, and their lines name their requests
by hash, so that a start that was killed hands nothing over twice.
"""

import hashlib
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import IO, Any

from openai import OpenAI

from factory import deeds
from factory.captions.asked import Asked, BadRequest
from factory.captions.captions import read_words, shown_by
from factory.captions.prompts import request
from factory.captions.replies import Replies, name_of
from factory.captions.server import LanguageServer
from factory.captions.usage import most_of
from factory.console.amounts import counted
from factory.errors import Damaged, EditmillError, ServerRefused
from factory.ledger.book import Book
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from schemas.canonical import content_hash
from schemas.captions import CaptionBudget, CaptionItem, Server

RUN_MARK, REQUESTS_MARK = "editmill_run", "editmill_requests"
"""Labels of a batch at the server: whose it is, and the hash of its file."""
ENDPOINTS = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
MOST_REQUESTS, MOST_BYTES = 50_000, 190 * 2**20
"""Of one batch; OpenAI takes 50,000 and 200 MB."""
POLL_S = 60
"""Between two looks at a batch, which takes minutes to a day."""
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
AT_ONCE = 1024
"""Replies that are read or stored before more are taken in hand, by so many threads:"""
THREADS = 16
_NAME = re.compile(r"[0-9a-f]{64}")


Items = Callable[[], Iterable[CaptionItem]]
"""Lists captions, anew at each call."""


def open_captions(run: Run, plan: Plan, limit: int | None) -> Items:
    """Those of units that are not committed, of the first `limit` captions."""
    done = Book(run, plan).committed()
    goal = plan.units if limit is None else plan.first_units(limit)

    def items() -> Iterator[CaptionItem]:
        for unit in goal:
            if not done[unit]:
                yield from map(CaptionItem.model_validate, plan.items(unit))

    return items


@dataclass
class Batches:
    """The batches of a run, in one start."""

    run: Run
    server: Server
    budget: CaptionBudget
    spent: dict[str, int]
    """Tokens by mark, those of what is handed over as they are estimated."""
    say: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep
    should_stop: Callable[[], bool] = lambda: False
    _unanswered: set[str] = field(default_factory=set)
    """Requests that a batch did not answer: they are asked for in the ordinary way."""

    def __post_init__(self) -> None:
        self.replies = Replies(self.run.store)
        self.shown = shown_by(self.run.recipe)
        self.asker = LanguageServer(self.server, self.sleep)
        self.mark = content_hash([self.run.recipe_hash, self.run.uri])[:32]

    def gather(self, items: Items) -> None:
        """Store replies until no caption wants one that a batch could bring, or until it is to stop.

        A reply that is no triplet wants another, in a later batch. Raises as `LanguageServer.patiently`,
        `ServerRefused` where the server takes no batches, `EditmillError` for a batch that it gave up.
        """
        try:
            if not any(True for _ in self._wanted(items())):
                return
            batches = self._known()
            for _ in range(self.run.recipe.attempts + 1):
                if not all(map(self._brings, batches)):
                    return
                batches = self._handed_over(self._wanted(items()))
                if not batches:
                    return
        except BadRequest as error:
            raise ServerRefused(f"{self.server.base_url}: takes no batches: {error}") from None
        finally:
            self.asker.close()

    def _wanted(self, items: Iterable[CaptionItem]) -> Iterator[tuple[str, Asked]]:
        """Each instruction's next request, by its name, where one is wanted."""
        stored = self.replies.names()
        hands = ((item, no) for item in items for no in range(self.run.recipe.per_caption))
        with ThreadPoolExecutor(THREADS) as readers:
            while chunk := list(islice(hands, AT_ONCE)):
                found = readers.map(lambda hand: self._next(hand, stored), chunk)
                yield from (one for one in found if one is not None)

    def _next(self, hand: tuple[CaptionItem, int], stored: set[str]) -> tuple[str, Asked] | None:
        recipe, (item, number) = self.run.recipe, hand
        for attempt in range(recipe.attempts):
            asked = request(recipe, item.item_id, item.caption, number, attempt)
            name = name_of(asked, attempt)
            if name not in stored:
                return None if name in self._unanswered else (name, asked)
            try:
                reason = read_words(recipe, self.shown, item, self.replies.read(name))[1]
            except Damaged:
                return None  # the stage says so
            if reason is None:
                return None
        return None

    def _known(self) -> list[str]:
        """Batches that earlier starts handed over; of those that were given up nothing will come."""

        def ours(client: OpenAI) -> list[str]:
            return [
                batch.id
                for batch in client.batches.list(limit=100)
                if (batch.metadata or {}).get(RUN_MARK) == self.mark and batch.status != "failed"
            ]

        return self.asker.patiently(ours, self.mark)

    def _handed_over(self, wanted: Iterable[tuple[str, Asked]]) -> list[str]:
        """New batches, in files of what a server takes, as far as the budget goes."""
        batches: list[str] = []
        waiting = iter(wanted)
        while not self.should_stop():
            with tempfile.TemporaryFile() as file:
                lines, digest = self._lay_down(waiting, file)
                if not lines:
                    break
                batches.append(self._begun(file, digest))
                self.say(f"batch {batches[-1]}: {counted(lines, 'request')} handed over")
        return batches

    def _lay_down(self, waiting: Iterator[tuple[str, Asked]], file: IO[bytes]) -> tuple[int, str]:
        """Write lines until the file is full; how many, and their sha256."""
        lines, digest = 0, hashlib.sha256()
        while lines < MOST_REQUESTS and file.tell() < MOST_BYTES and not self._is_spent():
            name, asked = next(waiting, (None, None))
            if asked is None:
                break
            where = {"custom_id": name, "method": "POST", "url": ENDPOINTS[asked.kind]}
            line = json.dumps({**where, "body": asked.body}).encode() + b"\n"
            file.write(line)
            digest.update(line)
            lines += 1
            for mark, tokens in most_of(asked).items():
                self.spent[mark] = self.spent.get(mark, 0) + tokens
        return lines, digest.hexdigest()

    def _is_spent(self) -> bool:
        return self.budget.spent(self.spent) is not None

    def _begun(self, file: IO[bytes], digest: str) -> str:
        """The batch of a file's requests, begun once although an answer may be lost."""
        marks = {RUN_MARK: self.mark, REQUESTS_MARK: digest}
        file.seek(0)
        endpoint = json.loads(file.readline())["url"]

        def begin(client: OpenAI) -> str:
            for batch in client.batches.list(limit=100):
                if (batch.metadata or {}) == marks and batch.status not in ("failed", "cancelled"):
                    return batch.id
            file.seek(0)
            name = f"editmill-{digest[:16]}.jsonl"
            uploaded = client.files.create(file=(name, file), purpose="batch")
            return client.batches.create(
                input_file_id=uploaded.id,
                endpoint=endpoint,
                completion_window="24h",
                metadata=marks,
            ).id

        batch = self.asker.patiently(begin, digest)
        deeds.made()
        return batch

    def _brings(self, name: str) -> bool:
        """Wait for a batch and store what it answered; False where it was to stop before."""
        before = ""
        while True:
            batch = self.asker.patiently(lambda client: client.batches.retrieve(name), name)
            counts = batch.request_counts
            done = f", {counts.completed} of {counts.total}" if counts and counts.total else ""
            if (now := f"{batch.status}{done}") != before:
                self.say(f"batch {name}: {now}")
            before = now
            if batch.status in ENDED:
                break
            for _ in range(POLL_S):
                if self.should_stop():
                    return False
                self.sleep(1)
        if batch.status == "failed":
            said = batch.errors.data if batch.errors and batch.errors.data else []
            why = "; ".join(str(one.message) for one in said[:3]) or "no reason was given"
            raise EditmillError(f"batch {name}: failed: {self.asker.hidden(why)}")
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            self.asker.patiently(partial(self._fetch, file), file)
        return True

    def _fetch(self, file: str, client: OpenAI) -> None:
        """Store the answers in a batch's file; done again it stores nothing twice."""
        stored = self.replies.names()
        with (
            client.files.with_streaming_response.content(file) as content,
            ThreadPoolExecutor(THREADS) as writers,
        ):
            lines = content.iter_lines()
            while chunk := list(islice(lines, AT_ONCE)):
                list(writers.map(lambda line: self._keep(line, stored), chunk))

    def _keep(self, line: str, stored: set[str]) -> None:
        found: Any = None
        try:
            found = json.loads(line)
            name, reply = found["custom_id"], found.get("response") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # a line that was cut: its request is asked for in the ordinary way
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in stored:
            return
        body = reply.get("body") if isinstance(reply, dict) else None
        if isinstance(body, dict) and reply.get("status_code") == 200:
            self.replies.keep(name, self.asker.hidden(json.dumps(body)))
            deeds.made()
        else:
            self._unanswered.add(name)
