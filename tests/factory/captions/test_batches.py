"""Requests by the batch API: handed over once, fetched once, and what they do not bring is asked for."""

import json
import re
from collections import Counter

import pytest

from factory.captions.batches import Batches, open_captions
from factory.captions.prompts import request
from factory.captions.replies import Replies, name_of
from factory.ledger.plan import read_plan
from factory.ledger.run import Run, open_run
from factory.storage.open import open_store
from schemas.captions import CaptionBudget, CaptionRecipe
from tests.factory.captions.language_server import green, question, reply_to
from tests.factory.captions.openai_api import served
from tests.factory.captions.test_captions import CAPTIONS, listed, rows, start

__all__ = ["listed"]


class Api:
    """Files and batches, as the server holds them; a batch is done at the third look."""

    def __init__(self, answer=green):
        self.says = answer
        self.files, self.batches, self.log = {}, [], Counter()
        self.answered = Counter()
        """Requests by their custom id."""
        self.fails = Counter()
        """How often a request is heeded, and its answer lost."""
        self.broken = lambda body: False
        """Which requests of a batch come to nothing."""
        self.gives_up = 0
        """How many batches fail as a whole."""

    def answer(self, method, path, body):
        name = f"{method} {re.sub(r'(batch|file)-[0-9]+', '*', path)}"
        self.log[name] += 1
        found = self.heed(method, path, body)
        if self.fails[name]:
            self.fails[name] -= 1
            return 503, {}
        return found

    def heed(self, method, path, body):
        if path == "/v1/files":
            self.files[f"file-{len(self.files)}"] = re.search(
                rb"filename=.*?\r\n\r\n(.*)\r\n--", body, re.DOTALL
            ).group(1)
            return 200, {"id": list(self.files)[-1], "object": "file"}
        if path.endswith("/content"):
            return 200, self.files[path.split("/")[-2]]
        if path == "/v1/batches" and method == "POST":
            fresh = {"id": f"batch-{len(self.batches)}", "status": "validating", "looks": 0}
            self.batches.append(json.loads(body) | fresh | {"object": "batch"})
            return 200, self.batches[-1]
        if path == "/v1/batches":
            return 200, {"object": "list", "data": self.batches[::-1], "has_more": False}
        if path.startswith("/v1/batches/"):
            return 200, self.looked_at(next(b for b in self.batches if path.endswith(b["id"])))
        body = json.loads(body)
        return 200, reply_to(path, body, self.says(path, body))

    def looked_at(self, batch):
        batch["looks"] += 1
        if batch["looks"] == 2 and self.gives_up:
            self.gives_up -= 1
            wrong = {"message": "too many tokens are waiting", "code": "token_limit_exceeded"}
            batch |= {"status": "failed", "errors": {"object": "list", "data": [wrong]}}
        elif batch["looks"] == 2:
            batch["status"] = "in_progress"
        elif batch["looks"] == 3:
            good, bad = [], []
            for line in map(json.loads, self.files[batch["input_file_id"]].splitlines()):
                self.answered[line["custom_id"]] += 1
                if self.broken(line["body"]):
                    reply = {"status_code": 500, "body": {"error": {"message": "odd"}}}
                    bad.append({"custom_id": line["custom_id"], "response": reply, "error": None})
                else:
                    said = reply_to(line["url"], line["body"], self.says(line["url"], line["body"]))
                    reply = {"status_code": 200, "body": said}
                    good.append({"custom_id": line["custom_id"], "response": reply})
            batch |= {"status": "completed", "output_file_id": self.keep(good)}
            batch |= {"error_file_id": self.keep(bad)} if bad else {}
        return batch

    def keep(self, lines):
        name = f"file-{len(self.files)}"
        self.files[name] = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n"
        return name

    @property
    def asked_alone(self):
        return self.log["POST /v1/chat/completions"] + self.log["POST /v1/completions"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("factory.captions.batches.POLL_S", 0)


def run_by(api, listed, out, *more):
    with served(api.answer) as server:
        return start(listed, out, server.base_url, "--batch", *more)


@pytest.mark.parametrize("form", ["chat", "completion"])
def test_all_come_by_one_batch_and_none_is_asked_for_alone(listed, tmp_path, form):
    api = Api()
    done = run_by(api, listed, tmp_path / "run", "--set", f"recipe.form={form}", "--json")
    assert done.exit_code == 0, done.output
    assert [one.original_prompt for one in rows(tmp_path / "run")] == CAPTIONS
    assert (len(api.batches), api.asked_alone) == (1, 0)
    assert set(api.answered.values()) == {1}
    assert json.loads(done.stdout)["prompt_tokens"] == 100 * len(CAPTIONS)


def test_a_second_start_hands_nothing_over_and_asks_for_no_batch(listed, tmp_path):
    api = Api()
    run_by(api, listed, tmp_path / "run")
    before = api.log.copy()
    assert run_by(api, listed, tmp_path / "run").exit_code == 0
    assert api.log == before


def test_what_is_no_triplet_comes_again_by_another_batch(listed, tmp_path):
    seen = set()

    def first_badly(path, body):
        name = question(body)["id"]
        if "car" in question(body)["caption"] and name not in seen:
            seen.add(name)
            return "Certainly!"
        return green(path, body)

    api = Api(first_badly)
    assert run_by(api, listed, tmp_path / "run").exit_code == 0
    assert len(rows(tmp_path / "run")) == len(CAPTIONS)
    handed = [len(api.files[b["input_file_id"]].splitlines()) for b in api.batches]
    assert (handed, api.asked_alone) == ([len(CAPTIONS), 1], 0)


def test_what_a_batch_does_not_answer_is_asked_for_alone(listed, tmp_path):
    api = Api()
    api.broken = lambda body: "boat" in question(body)["caption"]
    done = run_by(api, listed, tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert len(rows(tmp_path / "run")) == len(CAPTIONS)
    assert (len(api.batches), api.asked_alone) == (1, 1)


@pytest.mark.parametrize(
    "lost",
    ["POST /v1/batches", "POST /v1/files", "GET /v1/batches", "GET /v1/batches/*"]
    + ["GET /v1/files/*/content"],
)
def test_an_answer_that_is_lost_makes_no_second_batch(listed, tmp_path, lost):
    api = Api()
    api.fails[lost] = 1
    assert run_by(api, listed, tmp_path / "run").exit_code == 0
    assert (len(api.batches), api.asked_alone) == (1, 0)


def gathered(run, server, stop, **budget):
    """One start that begins, and is stopped at a look."""
    looks = iter(range(stop))
    batches = Batches(
        run,
        server,
        CaptionBudget(**budget),
        {},
        sleep=lambda seconds: None,
        should_stop=lambda: next(looks, None) is None,
    )
    batches.gather(open_captions(run, read_plan(run), None))
    return len(Replies(run.store).names())


@pytest.fixture
def begun(listed, tmp_path):
    """A run that was planned, and nothing made of it."""
    with served(lambda *_: (401, {"error": {"message": "no"}})) as server:
        assert start(listed, tmp_path / "run", server.base_url).exit_code == 2
    run = open_run(open_store(str(tmp_path / "run")))
    recipe = CaptionRecipe.model_validate(run.recipe)
    return Run(run.store, recipe, run.commits, run.recipe_hash, run.layout)


def test_a_start_that_was_stopped_finds_its_batch_again(begun, monkeypatch):
    monkeypatch.setattr("factory.captions.batches.POLL_S", 1)
    api = Api()
    with served(api.answer) as server:
        assert [gathered(begun, server, stop) for stop in (2, 0, 9)] == [0, 0, len(CAPTIONS)]
    assert len(api.batches) == 1


def test_a_batch_that_was_given_up_is_told_and_handed_over_anew(listed, tmp_path):
    api = Api()
    api.gives_up = 1
    first = run_by(api, listed, tmp_path / "run")
    assert first.exit_code == 3
    assert "batch-0: failed: too many tokens are waiting" in first.stderr
    assert run_by(api, listed, tmp_path / "run").exit_code == 0
    assert (len(api.batches), api.asked_alone) == (2, 0)


def test_no_more_is_handed_over_than_the_budget_may_pay(begun):
    api = Api()
    recipe = begun.recipe
    most = recipe.sampling.max_tokens
    with served(api.answer) as server:
        assert 1 <= gathered(begun, server, 99, max_tokens=2 * most) <= 2
    assert sum(api.answered.values()) <= 2


def test_files_are_cut_where_a_server_takes_no_more(listed, tmp_path, monkeypatch):
    monkeypatch.setattr("factory.captions.batches.MOST_REQUESTS", 3)
    api = Api()
    assert run_by(api, listed, tmp_path / "run").exit_code == 0
    handed = [len(api.files[b["input_file_id"]].splitlines()) for b in api.batches]
    assert (handed, api.asked_alone) == ([3, 3, 1], 0)


def test_a_server_without_batches_is_refused(listed, tmp_path):
    def answer(method, path, body):
        return 404, {"error": {"message": "no such path"}}

    with served(answer) as server:
        done = start(listed, tmp_path / "run", server.base_url, "--batch")
    assert done.exit_code == 2
    assert "status 404" in done.stderr
    assert not (tmp_path / "run" / "commits").exists()


@pytest.mark.parametrize("name", ["../../evil", "x", None, 7, "A" * 64])
def test_a_line_that_names_no_request_is_left_alone(begun, name):
    api = Api()
    before = [found.key for found in begun.store.list("")]
    with served(api.answer) as server:
        batches = Batches(begun, server, CaptionBudget(), {})
        reply = {"status_code": 200, "body": {}}
        batches._keep(json.dumps({"custom_id": name, "response": reply}), set())
        batches._keep("[1", set())
        batches._keep("[]", set())
    assert [found.key for found in begun.store.list("")] == before


def test_a_key_that_a_server_repeats_is_not_stored(begun, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    item = next(iter(open_captions(begun, read_plan(begun), None)()))
    name = name_of(request(begun.recipe, item.item_id, item.caption, 0, 0), 0)
    with served(Api().answer) as server:
        batches = Batches(begun, server, CaptionBudget(), {})
        reply = {"status_code": 200, "body": {"model": "sk-secret"}}
        batches._keep(json.dumps({"custom_id": name, "response": reply}), set())
    assert Replies(begun.store).read(name) == {"model": "(key)"}
