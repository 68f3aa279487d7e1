"""`generate` on a real Ray with the tiny random family: same dataset however it is run."""

import logging
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial

import pytest
from ray.data import DataContext

from factory.errors import InputError
from factory.ledger.units.commits import committed_units
from factory.pairs.generate import prepare
from factory.pairs.prompt_to_prompt import PromptToPrompt
from factory.pairs.triplets import TripletList
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from schemas.config import Budget, Config
from tests.environment import python_path, without_ray
from tests.factory.engine.family import recipe as family_recipe
from tests.factory.on_ray.deadly import Deadly
from tests.making import run_here, run_job, run_on_ray
from tests.stub_source import StubSource, triplets

pytestmark = pytest.mark.usefixtures("ray_here")
COUNT = 10


def config(family, **compute):
    recipe = family_recipe(family, dtype="float32", steps=3, candidates=3, unit_triplets=1)
    defaults = {"device": "cpu", "gpus_per_worker": 0.0, "batch_pairs": 4}
    return Config(recipe=recipe, compute=defaults | compute)


@dataclass
class Watched:
    """A runner that keeps the reports it passes on."""

    reports: list

    def __call__(self, run, plan, units, config, should_stop):
        for report in run_on_ray(run, plan, units, config, should_stop):
            self.reports.append(report)
            yield report


def make(folder, of, runner=run_on_ray, count=COUNT):
    run, plan = prepare(of, TripletList(triplets(count)), str(folder))
    return run, run_job(run, plan, of, runner)


def stubbed(tmp_path, seconds=0.0):
    """A runner without the engine, which takes long to load and adds nothing to how a job ends."""
    return partial(run_on_ray, make_source=Deadly((), str(tmp_path), seconds=seconds))


def made_here(tmp_path, of):
    """By a stub in a plain loop."""
    return make(tmp_path / "here", of, run_here(lambda run: StubSource()))[1]


@pytest.fixture(scope="module")
def undisturbed(family, tmp_path_factory):
    run, result = make(tmp_path_factory.mktemp("one"), config(family))
    assert verify(run).damages == []
    return result


def test_one_worker_makes_the_whole_dataset(family, tmp_path):
    run, result = make(tmp_path / "run", config(family), stubbed(tmp_path))
    assert (result.exit_code, result.units_made) == (0, COUNT)
    assert result.sealed.counts["accepted"] > 0
    assert verify(run).damages == []
    assert result.manifest_hash == made_here(tmp_path, config(family)).manifest_hash


@pytest.mark.long
def test_so_does_one_with_the_engine(undisturbed):
    assert (undisturbed.exit_code, undisturbed.units_made) == (0, COUNT)
    assert undisturbed.sealed.counts["accepted"] > 0


@pytest.mark.long
def test_two_workers_with_a_gpu_each_and_the_other_order_give_the_same_manifest(
    family, tmp_path, undisturbed, monkeypatch
):
    compute = {"min_workers": 2, "max_workers": 2, "unit_order": "backward", "gpus_per_worker": 1.0}
    reports = []
    # So that the first worker does not finish everything while the second still loads.
    monkeypatch.setattr(DataContext.get_current(), "wait_for_min_actors_s", 300)
    _, result = make(tmp_path, config(family, **compute), Watched(reports))
    assert result.manifest_hash == undisturbed.manifest_hash
    held = {(report.worker, report.gpus) for report in reports}
    assert sorted(gpus for _, gpus in held) == ["0", "1"]


def test_a_job_that_is_stopped_before_its_first_unit_shows_no_traceback(family, tmp_path):
    shown = []

    class Console(logging.Handler):
        def emit(self, record):
            # As Ray Data's own console leaves out what is marked so.
            if not getattr(record, "hide", False):
                shown.append(record.getMessage())

    of = config(family)
    run, plan = prepare(of, TripletList(triplets(2)), str(tmp_path))
    asked = iter([False])
    console, logger = Console(), logging.getLogger("ray.data.exceptions")
    logger.addHandler(console)
    try:
        reports = list(run_on_ray(run, plan, [0, 1], of, lambda: next(asked, True)))
    finally:
        logger.removeHandler(console)
    assert reports == []
    assert shown == []


@pytest.mark.long
def test_a_plain_loop_gives_the_same_manifest(family, tmp_path, undisturbed):
    def engine(run):
        return PromptToPrompt(run.recipe, device="cpu", batch_pairs=4, threads=1)

    _, result = make(tmp_path, config(family), run_here(engine))
    assert result.manifest_hash == undisturbed.manifest_hash


@pytest.mark.long
def test_store_that_refuses_ends_the_job_with_its_own_words(family, tmp_path):
    of = config(family)
    run, plan = prepare(of, TripletList(triplets(4)), str(tmp_path))
    # A folder in the place of its commit: this unit can never be committed.
    (tmp_path / "commits/000000/00000002.parquet").mkdir(parents=True)
    words = (
        r"00000002\.parquet: a folder stands there, or a file on the way there; move it away and"
    )
    with pytest.raises(InputError, match=words):
        run_job(run, plan, of, stubbed(tmp_path))


@pytest.mark.long
def test_target_stops_inside_a_block_of_many_units(family, tmp_path, monkeypatch):
    monkeypatch.setattr("factory.on_ray.pool.MOST_BLOCKS", 1)
    of = config(family).model_copy(update={"budget": Budget(target_pairs=1)})
    # All of it takes 15 s: so long a busy driver may take to hear of the first pair.
    _, result = make(tmp_path, of, stubbed(tmp_path, seconds=0.5))
    assert (result.exit_code, result.sealed.partial) == (0, True)
    assert result.units_made < COUNT


def test_guard_stops_while_no_worker_can_be_placed(family, tmp_path):
    hours = Budget(max_gpu_hours=3 / 3600)
    of = config(family, gpus_per_worker=4.0).model_copy(update={"budget": hours})
    _, result = make(tmp_path, of)
    assert (result.exit_code, result.units_made) == (4, 0)


@pytest.mark.long
def test_weights_that_are_gone_end_with_the_workers_own_words(family, tmp_path):
    weights = tmp_path / "weights"
    shutil.copytree(family, weights)
    of = config(weights)
    run, plan = prepare(of, TripletList(triplets(2)), str(tmp_path / "run"))
    shutil.rmtree(weights / "text_to_image" / "vae")
    with pytest.raises(
        InputError, match=r"text_to_image: must be a model's folder with vae/config"
    ):
        run_job(run, plan, of, run_on_ray)


DRIVER = """
import sys
from functools import partial
from factory.pairs.generate import prepare
from factory.pairs.triplets import TripletList
from schemas.config import Budget, Config
from tests.factory.on_ray.deadly import Deadly
from tests.making import run_job, run_on_ray
from tests.stub_source import triplets
runner = partial(run_on_ray, make_source=Deadly((), "", seconds=0.1))
config = Config.model_validate_json(sys.argv[1])
run, plan = prepare(config, TripletList(triplets({count})), sys.argv[2])
sys.exit(run_job(run, plan, config, runner).exit_code)
"""


@pytest.mark.long
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 3)])
def test_driver_killed_half_way_and_run_again_gives_the_same_manifest(family, tmp_path, how, code):
    """The units take a third of a second each, without the engine; `tests/chaos` has it under way."""
    of = config(family)
    folder = tmp_path / "run"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER.format(count=COUNT), of.model_dump_json(), str(folder)],
        env=without_ray() | {"PYTHONPATH": python_path()},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    store = LocalStore(str(folder))
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and driver.poll() is None:
        if len(list(committed_units(store))) >= 3:
            break
        time.sleep(0.02)
    driver.send_signal(how)
    assert driver.wait(60) == code
    done = len(list(committed_units(store)))
    assert 0 < done < COUNT
    run, result = make(folder, of, stubbed(tmp_path))
    assert result.units_made <= COUNT - done
    assert result.manifest_hash == made_here(tmp_path, of).manifest_hash
    assert verify(run).damages == []
