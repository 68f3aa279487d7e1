"""`encode` on a real Ray: the same bytes as in one process, and three strikes for a unit that kills."""

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import psutil
import pytest

from factory.errors import EditmillError, InputError
from factory.ledger.keys import STRIKES
from factory.ledger.run import open_run
from factory.ledger.units.strikes import COMPANY, POISON, read_strikes, write_strike
from factory.ledger.verify.run import verify
from factory.on_ray import watch
from factory.on_ray.units import run_on_ray
from tests.factory.dataset.test_decoders import children
from tests.trainer.encoded import configuration, write_dataset
from tests.trainer.latents.test_encode import stored
from tests.trainer.on_ray.deadly import load_deadly, load_hanging, load_refusing, load_vanishing
from trainer.latents.encode import encode_dataset

pytestmark = pytest.mark.usefixtures("ray_here", "small_units")


@contextmanager
def seen_decoders():
    """All that live at any time meanwhile; a worker has one from its first picture to its end."""
    seen, over = set(), threading.Event()

    def look():
        while not over.wait(0.1):
            seen.update(children())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


@pytest.mark.long
def test_a_pool_encodes_the_same_bytes_although_a_worker_hangs_and_tells_of_every_unit(
    tmp_path, monkeypatch
):
    """It is ended, and its unit made by another."""
    monkeypatch.setattr(watch, "SETTLE_S", 0.3)
    # On a busy machine the first unit takes long.
    monkeypatch.setattr(watch, "SILENCE", 2.0)
    dataset = write_dataset(tmp_path / "pairs")
    marks = tmp_path / "marks"
    marks.mkdir()
    wide = configuration(compute={"min_workers": 2, "max_workers": 2})
    made = []

    def watched(stage):
        load = partial(load_hanging, stage.load, 2, str(marks))
        hanging = replace(stage, load=load, silence_s=4.0)

        def runner(*arguments):
            for report in run_on_ray(hanging)(*arguments):
                made.append(report)
                yield report

        return runner

    with seen_decoders() as decoders:
        latents = encode_dataset(wide, dataset, str(tmp_path / "ray"), watched)
    assert len(list(marks.iterdir())) == 1
    # None where its successor had committed it before the death was judged.
    assert len(read_strikes(latents.run.store).get(2, [])) <= 1
    assert sorted(report.unit for report in made) == [0, 1, 2, 3, 4]
    assert sum(report.counts["failed"] for report in made) == 1
    here = encode_dataset(configuration(), dataset, str(tmp_path / "here"))
    assert [unit.line for unit in latents.units] == [unit.line for unit in here.units]
    found = stored(tmp_path / "ray")
    assert {key: found[key] for key in found if not key.startswith(STRIKES)} == stored(
        tmp_path / "here"
    )
    # They end with their workers.
    assert decoders
    left = psutil.wait_procs(decoders, timeout=60)[1]
    assert not left, [above.cmdline() for one in left for above in (one, *one.parents())]


@pytest.mark.long
def test_a_workers_refusal_ends_the_job_with_its_words(tmp_path):
    dataset = write_dataset(tmp_path / "pairs", rows=(2,), unreadable=None)

    def refusing(stage):
        return run_on_ray(replace(stage, load=load_refusing))

    with pytest.raises(InputError, match="^nowhere: must be a model's folder$"):
        encode_dataset(configuration(), dataset, str(tmp_path / "out"), refusing)
    assert not list((tmp_path / "out").glob("manifest/*.json"))


def test_sigterm_ends_an_encoding_for_which_no_worker_comes(tmp_path, monkeypatch):
    look = watch.Watch.look

    def looked(self):
        monkeypatch.setattr(watch.Watch, "look", look)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(watch.Watch, "look", looked)
    monkeypatch.setattr("factory.on_ray.units.connect", lambda pool: pool)
    dataset = write_dataset(tmp_path / "pairs", rows=(2,), unreadable=None)
    config = configuration(compute={"gpus_per_worker": 4})
    with pytest.raises(EditmillError, match="^interrupted; run the same command to resume$"):
        encode_dataset(config, dataset, str(tmp_path / "out"), run_on_ray)


@pytest.mark.long
def test_a_root_that_vanishes_ends_the_encoding_and_is_not_made_again(tmp_path):
    dataset = write_dataset(tmp_path / "pairs", unreadable=None)
    out = tmp_path / "out"

    def vanishing(stage):
        load = partial(load_vanishing, stage.load, 1, str(out))
        return run_on_ray(replace(stage, load=load))

    with pytest.raises(InputError, match=r"RUN\.json is gone"):
        encode_dataset(configuration(), dataset, str(out), vanishing)
    assert not out.exists()


@pytest.mark.long
@pytest.mark.parametrize("before", [COMPANY, pytest.param(0, marks=pytest.mark.slow)])
def test_a_unit_whose_process_dies_again_and_again_is_failed_and_the_run_ends(
    tmp_path, monkeypatch, before
):
    """So often under other drivers: with two it runs alone at once. A worker takes long to load."""
    monkeypatch.setattr(watch, "SETTLE_S", 0.3)
    dataset = write_dataset(tmp_path / "pairs", unreadable=None)
    marks = tmp_path / "marks"
    marks.mkdir()
    out = str(tmp_path / "out")

    def deadly(stage):
        def runner(run, *arguments):
            for _ in range(before):
                write_strike(run.store, 2, 0, alone=False, worker="w", node="n")
            load = partial(load_deadly, stage.load, 2, str(marks))
            return run_on_ray(replace(stage, load=load))(run, *arguments)

        return runner

    latents = encode_dataset(configuration(), dataset, out, deadly)
    assert [unit.unreadable for unit in latents.units] == [0, 0, 1, 0, 0]
    assert latents.reasons(2) == [POISON]
    assert len(list(marks.iterdir())) == COMPANY + 1 - before
    strikes = read_strikes(latents.run.store)
    assert [strike.alone for strike in strikes[2]] == [False, False, True]
    assert verify(open_run(out)).damages == []
    # The cause is mended: as if nothing had been.
    again = encode_dataset(configuration(), dataset, out, retry_failed=True)
    here = encode_dataset(configuration(), dataset, str(tmp_path / "here"))
    assert [unit.line for unit in again.units] == [unit.line for unit in here.units]
