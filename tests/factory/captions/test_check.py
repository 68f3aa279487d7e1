"""`captions --check`: what a start would refuse, without a server being asked."""

import json

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.console.check import LOCAL_PATHS, NOTHING_WRONG, UNSEEN
from tests.factory.captions.language_server import green, language_server
from tests.factory.captions.test_captions import OPTIONS, listed, start

__all__ = ["listed"]


def check(listed, out, *more, **environment):
    words = ["captions", "--captions", str(listed), "--out", str(out), *OPTIONS, *more, "--check"]
    return CliRunner().invoke(app, words, env={"OPENAI_API_KEY": "k"} | environment)


def test_a_start_that_would_begin_passes_asks_nobody_and_leaves_nothing(listed, tmp_path):
    with language_server(green) as model:
        done = check(listed, tmp_path / "run", "--base-url", model.url)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, NOTHING_WRONG)
    assert model.asked == []
    assert list(tmp_path.iterdir()) == [listed]
    assert "OPENAI_API_KEY" not in done.output


def test_a_run_that_would_go_on_passes_and_another_recipe_does_not(listed, tmp_path):
    with language_server(green) as model:
        start(listed, tmp_path / "run", model.url)
    before = sorted(tmp_path.rglob("*"))
    assert check(listed, tmp_path / "run").exit_code == 0
    other = check(listed, tmp_path / "run", "--set", "recipe.per_caption=2")
    assert other.exit_code == 2
    assert "holds a run with another recipe; differing: per_caption" in other.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--set", "recipe.per_captions=2"), "unknown key 'recipe.per_captions'"),
        (("--base-url", "ftp://nowhere"), "--base-url: compute.server.base_url"),
        (("--column", "words"), "expected a column of words"),
        (("--set", "budget.max_money=3"), "max_money must come with price_in and price_out"),
        (("--deadline", "soon"), "--deadline: must be an ISO datetime"),
    ],
)
def test_what_is_wrong_is_refused(listed, tmp_path, more, message):
    done = check(listed, tmp_path / "run", *more)
    assert done.exit_code == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == [listed]


def test_a_key_that_is_not_set_is_told(listed, tmp_path):
    done = check(listed, tmp_path / "run", OPENAI_API_KEY=None)
    assert done.exit_code == 0
    assert "OPENAI_API_KEY: is not set here; its server is sent no key" in done.stderr


def test_what_is_elsewhere_is_passed_over(tmp_path):
    unseen = json.dumps([LOCAL_PATHS])
    done = check(tmp_path / "none.jsonl", tmp_path / "run", **{UNSEEN: unseen})
    assert done.exit_code == 0
    assert "--captions" in done.stderr
    assert "is looked at where and when it runs" in done.stderr
