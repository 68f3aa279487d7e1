"""`captions` at work on captions of a few words: over HTTP as it is, or without a network.

Whoever sends a request whose reply stands in the store is found out: here at once, in another process by
its notes.
"""

import atexit
import json
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from unittest.mock import patch

from factory.captions.captions import CaptionMaker, captions_stage
from factory.captions.listing import CaptionList
from factory.captions.prepare import prepare, with_examples
from factory.captions.replies import Replies
from factory.ledger import keys
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.work.job import run_job
from schemas.canonical import content_hash
from schemas.captions import CAPTIONS, CaptionEnvironment, CaptionItem, CaptionRecipe, Captions
from tests.chaos.subjects.subject import Subject
from tests.factory.captions.language_server import (
    LanguageModel,
    Says,
    language_server,
    question,
    reply_to,
)

SLOWLY_S = 0.05
"""So long takes an answer, so that some are on their way when their worker is killed."""
FAULTY = 5
"""Of so many requests one is answered badly before it is answered well."""
FAULTS = (
    Says(429, {"retry-after": "0.05"}, b'{"error": {"message": "slow down"}}'),
    Says(500, {}, b"oops"),
    Says(200, {"content-type": "text/html"}, b"<html>busy</html>"),
    Says(200, {}, b'{"choices": [1, 2, 3]}', cut=True),
)


class CaptionsSubject(Subject):
    """As it is, against a server of this process that misbehaves, units of `outcomes` captions."""

    layout = CAPTIONS

    @property
    def unit_items(self):
        return self.work.outcomes

    def lay_out(self):
        url = self.folder / "server.url"
        if not url.exists():
            url.write_text(server_of(self.folder).url)

    @property
    def base_url(self) -> str:
        self.lay_out()
        return (self.folder / "server.url").read_text()

    @property
    def answers(self):
        return server_of(self.folder).answers

    @cached_property
    def stage(self):
        return captions_stage()

    @cached_property
    def recipe(self):
        return with_examples(
            CaptionRecipe(
                # So that its server knows what to say.
                model="most are wrong" if self.work.gated else "most are right",
                attempts=2,
                near_duplicates=0.7,
                seed=self.work.number,
                unit_captions=self.unit_items,
            )
        )

    def terms(self, limit=None):
        compute = {
            "device": "cpu",
            "gpus_per_worker": 0,
            "min_workers": self.work.workers,
            "max_workers": self.work.workers,
            "server": {"base_url": self.base_url, "in_flight": 2},
        }
        budget = {"limit": limit and limit * self.unit_items}
        return Captions(recipe=self.recipe, compute=compute, budget=budget)

    def items(self, count=None):
        units = self.work.units if count is None else count
        return [CaptionItem(caption=caption(n)) for n in range(units * self.unit_items)]

    def start(
        self,
        store,
        run_with,
        count=None,
        *,
        retry_failed=False,
        limit=None,
        once_planned=lambda run, plan: None,
    ):
        config = self.terms(limit)
        with patch("factory.captions.prepare.open_store", lambda _: store):
            run, plan = prepare(
                config,
                store.uri,
                CaptionList(self.items(count)),
                extend=True,
                retry_failed=retry_failed,
            )
        once_planned(run, plan)
        return run_job(self.stage, run, plan, config, run_with(self.stage))

    def ids(self, items):
        return [CaptionItem.model_validate(item).item_id for item in items]

    def names(self, items, rows):
        found = [row if isinstance(row, dict) else row.model_dump() for row in rows]
        return [(row["caption_id"], row["index"]) for row in found]

    def kept(self, run, plan, line):
        """What triplets are made of: the accepted instructions."""
        rows = whole_commit(run, find_commit(run, plan, line.unit, line)).rows
        named = zip(self.names(plan.items(line.unit), rows), rows, strict=True)
        return [name for name, row in named if row["verdict"] == "accepted"]

    def heard(self, maker, hear):
        maker.replies = PaidOnce(maker.replies.store)
        maker.make = partial(self._heard_make, maker.make, hear)
        return maker

    def _heard_make(self, make, hear, unit, items):
        """Told in this thread once all are answered; others ask."""
        outcomes = make(unit, items)
        for name in self.names(items, outcomes.rows):
            hear(*name)
        return outcomes

    def noted(self, maker, note):
        maker.replies = Noting(maker.replies.store, note)


class CaptionsStub(CaptionsSubject):
    """With a server that is a function, asked in turn: all else is the product's."""

    base_url = "http://stub/v1"
    answers = 0

    def lay_out(self):
        """Nothing is read."""

    @cached_property
    def stage(self):
        return replace(captions_stage(), load=partial(self._load, 0))

    def own_maker(self, number, run):
        run = Run(run.store, self.recipe, run.commits, layout=run.layout)
        return self._load(number, run, self.terms().compute)

    def _load(self, number, run, compute):
        # Where several writers of one reply win, another's words would stand in the place of ours.
        says = number if run.commits == "conditional" else 0
        with (
            patch("factory.captions.server.LanguageServer", lambda server: StubServer(says)),
            patch("factory.captions.captions.ThreadPoolExecutor", InTurn),
        ):
            maker = CaptionMaker(run, compute)
        maker.replies = PaidOnce(run.store)
        maker._environment = Numbered(**maker._environment.model_dump(), device=f"stub {number}")
        return maker


class Numbered(CaptionEnvironment):
    """Tells makers apart."""

    device: str


class StubServer:
    """Answers at once."""

    def __init__(self, number):
        self.number = number

    def ask(self, asked):
        return json.dumps(
            reply_to("/chat/completions", asked.body, answer(self.number, asked.body))
        )

    def close(self):
        """There is nothing."""


class InTurn:
    """An executor that does one after the other, where it is asked."""

    def __init__(self, *_: object) -> None: ...

    def map(self, act, things):
        return map(act, things)

    def shutdown(self, **_: object) -> None: ...


class PaidTwice(AssertionError):
    """A request was sent although its reply was stored."""


class PaidOnce(Replies):
    """Replies; it is looked past whatever store is in between whether one was there already."""

    def ask(self, server, asked, number):
        key = keys.reply(content_hash([asked.kind, asked.body, number]))
        known = innermost(self.store).find(key) is not None

        def sent(asked):
            if known:
                raise PaidTwice(f"{key} was stored, and is asked for again")
            return server.ask(asked)

        return super().ask(Sent(sent), asked, number)


class Noting(Replies):
    """Replies; before a request is sent it is noted when its reply had been looked for."""

    def __init__(self, store, note):
        super().__init__(store)
        self.note = note

    def ask(self, server, asked, number):
        key, looked = keys.reply(content_hash([asked.kind, asked.body, number])), time.time()

        def sent(asked):
            self.note(pays=key, looked=looked)
            return server.ask(asked)

        return super().ask(Sent(sent), asked, number)


class Sent:
    """A server by its one verb."""

    def __init__(self, ask):
        self.ask = ask


def innermost(store):
    """What lies in all that passes calls on."""
    while hasattr(store, "inner"):
        store = store.inner
    return store


class Server:
    """One that lasts as long as this process, and counts its whole answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self.answers = 0
        self._stack = ExitStack()
        self.model: LanguageModel = self._stack.enter_context(language_server(self._answer))
        self.url = self.model.url
        atexit.register(self._stack.close)

    def _answer(self, path, body):
        time.sleep(SLOWLY_S)
        name = content_hash([body])
        with self._lock:
            is_new = name not in self._seen
            self._seen.add(name)
            chance = int(name[:8], 16)
            if is_new and chance % FAULTY == 0:
                return FAULTS[chance // FAULTY % len(FAULTS)]
            self.answers += 1
        return answer(0, body)


@cache
def server_of(folder: Path) -> Server:
    """Of a work's folder."""
    return Server()


def answer(number, body):
    """The text of a choice: the same for the same request, but for who is asked."""
    asked = question(body)
    wrong = body["seed"] % 4 if body["model"] == "most are wrong" else body["seed"] % 7 == 0
    if wrong:
        return "Certainly! Here is an idea."
    colour = f"green{number or ''}"
    edited = asked["caption"].replace("red", colour)
    return json.dumps({"id": asked["id"], "edit": f"make it {colour}", "edited_caption": edited})


def caption(number: int) -> str:
    """Of each two, the second nearly repeats the first."""
    group = number // 2
    return f"a red wagon {group}a {group}b {group}c {number}"
