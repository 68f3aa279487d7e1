"""What a run's tokens are, what they cost, and how kinds of edits are shared out."""

import json
import re
from collections import Counter

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.captions.asked import Asked
from factory.captions.prompts import kind_of
from factory.captions.usage import TOKENS_OF_MESSAGE, Usage, usage_of
from schemas.captions import CaptionRecipe
from tests.factory.captions.language_server import Says, green, language_server, question, reply_to
from tests.factory.captions.test_captions import CAPTIONS, listed, start

__all__ = ["listed"]
PRICED = ("--set", "budget.price_in=1000", "--set", "budget.price_out=10000")
CHAT = Asked("chat", {"messages": [{"role": "user", "content": "x" * 40}]})
SAID = {"choices": [{"message": {"content": "y" * 9}}]}


@pytest.mark.parametrize(
    ("asked", "reply", "usage"),
    [
        (CHAT, SAID | {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}, Usage(7, 2, 0)),
        (CHAT, SAID, Usage(10 + TOKENS_OF_MESSAGE, 3, 13 + TOKENS_OF_MESSAGE)),
        (CHAT, SAID | {"usage": {"prompt_tokens": 7}}, Usage(7, 3, 3)),
        (
            CHAT,
            SAID | {"usage": {"prompt_tokens": -1, "completion_tokens": True}},
            Usage(14, 3, 17),
        ),
        (CHAT, {"usage": [], "choices": [None, {}]}, Usage(14, 0, 14)),
        (Asked("completion", {"prompt": "abcde"}), {"choices": [{"text": "é"}]}, Usage(2, 1, 3)),
        (Asked("moderation", {"input": ["a"]}), {"results": []}, Usage()),
    ],
)
def test_tokens_are_the_servers_or_an_estimate_that_is_called_one(asked, reply, usage):
    assert usage_of(asked, reply) == usage


def silent(path, body):
    """Says nothing of tokens."""
    reply = reply_to(path, body, green(path, body))
    del reply["usage"]
    return Says(body=json.dumps(reply).encode())


def shown(out, *more):
    done = CliRunner().invoke(app, ["status", str(out), *more])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_status_says_what_tokens_cost_by_the_newest_prices(listed, tmp_path):
    out = tmp_path / "run"
    with language_server(green) as model:
        start(listed, out, model.url, "--limit", "3")
        assert json.loads(shown(out, "--json"))["money"] is None
        assert "money" not in shown(out)
        start(listed, out, model.url, *PRICED)
        again = start(listed, out, model.url, *PRICED)
    tokens = 100 * 1000 + 20 * 10000
    assert json.loads(shown(out, "--json"))["money"] == len(CAPTIONS) * tokens / 1e6
    assert re.search(r"^money +2\.10$", shown(out), re.MULTILINE)
    assert re.search(r"^money +2\.10$", again.stdout, re.MULTILINE)
    assert len(list((out / "prices").iterdir())) == 1
    with language_server(green) as model:
        start(listed, out, model.url, *PRICED[:3], "budget.price_out=0")
    assert json.loads(shown(out, "--json"))["money"] == 0.7


def test_status_says_how_many_tokens_are_estimated(listed, tmp_path):
    with language_server(silent) as model:
        start(listed, tmp_path / "run", model.url)
    state = json.loads(shown(tmp_path / "run", "--json"))
    assert state["estimated_tokens"] == state["prompt_tokens"] + state["completion_tokens"]
    assert state["estimated_tokens"] > 100 * len(CAPTIONS)
    line = rf"^of them estimated +{state['estimated_tokens']}$"
    assert re.search(line, shown(tmp_path / "run"), re.MULTILINE)


def test_money_ends_a_run_also_by_estimated_tokens(listed, tmp_path):
    with language_server(silent) as model:
        done = start(listed, tmp_path / "run", model.url, *PRICED, "--set", "budget.max_money=0.5")
    assert done.exit_code == 4
    assert "budget.max_money: 0.5 reached" in done.output
    assert len(model.asked) < len(CAPTIONS)


SHARES = {"season": 3.0, "colour": 2.0, "object": 4.0, "style": 1.0}


def test_kinds_of_edits_are_asked_for_by_their_shares_whatever_the_order():
    recipe = CaptionRecipe(model="m", kinds=SHARES)
    names = [f"{number:016x}" for number in range(4000)]
    drawn = {name: kind_of(recipe, name, 0) for name in names}
    counts = Counter(drawn.values())
    for kind, share in SHARES.items():
        assert abs(counts[kind] / len(names) - share / 10) < 0.03
    assert {name: kind_of(recipe, name, 0) for name in reversed(names)} == drawn


def test_the_kind_that_is_asked_for_is_what_is_counted(listed, tmp_path):
    asked = []

    def hears(path, body):
        asked.append(question(body)["kind_of_edit"])
        return green(path, body)

    shares = "recipe.kinds={season: 3, colour: 2, style: 1}"
    with language_server(hears) as model:
        done = start(listed, tmp_path / "run", model.url, "--json", "--set", shares)
    by_kind = json.loads(done.stdout)["by_kind"]
    assert {kind: sum(of.values()) for kind, of in by_kind.items()} == Counter(asked)
    assert set(asked) <= {"season", "colour", "style"}
