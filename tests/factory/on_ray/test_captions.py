"""`captions` on a real Ray, against a server of this process: the same bytes as here."""

import time

import pytest
from ray.data import DataContext

from factory.captions.captions import captions_stage
from factory.captions.listing import CaptionList
from factory.captions.prepare import prepare
from factory.errors import InputError
from factory.ledger.keys import COMMITS, SEGMENTS
from factory.ledger.run import open_run
from factory.ledger.verify.run import verify
from factory.on_ray.units import run_on_ray
from factory.storage.local import LocalStore
from factory.work.job import run_job
from factory.work.plain_loop import run_here
from schemas.captions import CaptionItem, Captions
from tests.factory.captions.language_server import Says, green, language_server, question

pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.long]
CAPTIONS = [f"a red {thing} on a table" for thing in ("apple", "boat", "car", "door", "egg", "fan")]


def config(url, **compute):
    recipe = {"model": "m", "unit_captions": 1, "per_caption": 2}
    pool = {"device": "cpu", "gpus_per_worker": 0, "server": {"base_url": url}}
    return Captions(recipe=recipe, compute=pool | compute)


def make(folder, wanted, run_with):
    """Everything but the command line; the workers' reports beside the result."""
    listed = CaptionList([CaptionItem(caption=one) for one in CAPTIONS])
    run, plan = prepare(wanted, str(folder), listed)
    stage, reports = captions_stage(), []

    def watched(*arguments):
        for report in run_with(stage)(*arguments):
            reports.append(report)
            yield report

    return run_job(stage, run, plan, wanted, watched), reports


def stored(folder):
    """Every object by its key, but for those that hold times and attempts."""
    store = LocalStore(folder)
    unstable = (COMMITS, SEGMENTS, "probe/")
    keys = [info.key for info in store.list() if not info.key.startswith(unstable)]
    return {key: store.get(key) for key in keys}


def slowly(path, body):
    """So that neither worker makes all while the other still loads."""
    time.sleep(0.1)
    return green(path, body)


def test_two_workers_ask_for_the_same_bytes_as_a_plain_loop_and_for_each_once(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(DataContext.get_current(), "wait_for_min_actors_s", 300)
    with language_server(slowly) as model:
        two = config(model.url, min_workers=2, max_workers=2, calls_per_worker=1)
        result, reports = make(tmp_path / "ray", two, run_on_ray)
        on_ray = model.times
        here, _ = make(tmp_path / "here", config(model.url), run_here)
    assert (result.exit_code, result.units_made) == (0, len(CAPTIONS))
    assert len({report.worker for report in reports}) == 2
    assert stored(tmp_path / "ray") == stored(tmp_path / "here")
    assert result.manifest_hash == here.manifest_hash
    assert verify(open_run(str(tmp_path / "ray"))).damages == []
    assert len(on_ray) == 2 * len(CAPTIONS)
    assert set(on_ray.values()) == {1}


def test_a_server_that_refuses_the_key_ends_the_pool_with_its_words(tmp_path):
    refusal = Says(401, {}, b'{"error": {"message": "no such key"}}')
    with (
        language_server(lambda path, body: refusal) as model,
        pytest.raises(InputError, match="must take the key in OPENAI_API_KEY, got status 401"),
    ):
        make(tmp_path / "run", config(model.url), run_on_ray)


def test_units_that_a_server_left_are_made_by_a_rerun_which_asks_for_nothing_twice(tmp_path):
    answered = []

    def without_boats(path, body):
        if "boat" in question(body)["caption"]:
            return Says(503)
        answered.append(body)
        return green(path, body)

    with language_server(without_boats) as model:
        server = {"base_url": model.url, "patience_s": 0}
        first, _ = make(tmp_path / "run", config(model.url, server=server), run_on_ray)
    assert (first.exit_code, first.units_made) == (3, len(CAPTIONS) - 1)
    with language_server(green) as model:
        again, _ = make(tmp_path / "run", config(model.url), run_on_ray)
    assert (again.exit_code, again.units_made) == (0, 1)
    assert [question(body)["caption"] for body in model.asked] == [CAPTIONS[1]] * 2
    assert len(answered) == 2 * (len(CAPTIONS) - 1)
