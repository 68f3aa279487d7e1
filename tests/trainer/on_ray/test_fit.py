"""`fit` on a real Ray: gloo workers learn what one learns, and a killed one is started again."""

import json
import os
import signal

import pytest
import torch
from ray.exceptions import ActorDiedError
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

from factory.dataset.dataset import Dataset
from factory.errors import InputError, RunMismatch, StorageUnavailable
from factory.on_ray.rows import ClusterFailed
from factory.on_ray.words import DIED
from factory.storage.local import LocalStore
from tests.nursery.family import descendants
from tests.trainer.small import objects, small, state_of, train, write_pairs
from trainer.fit import prepare
from trainer.on_ray import fit as on_ray
from trainer.on_ray import workers
from trainer.root.checkpoint import record_key

pytestmark = pytest.mark.usefixtures("ray_here")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


class Lines(list):
    """What the driver says; acts once, when it has heard two."""

    act = None

    def append(self, line):
        super().append(line)
        if len(self) == 2 and self.act:
            self.act()


@pytest.fixture
def lines(monkeypatch):
    heard = Lines()
    monkeypatch.setattr(workers, "say", heard.append)
    monkeypatch.setattr(workers, "LOOK_EVERY_S", 0.05)
    return heard


def on(workers, **more):
    compute = {"where": "ray", "min_workers": workers, "max_workers": workers}
    return small(**{"compute": compute} | more)


def losses(out):
    lines = b"".join(objects(out, "progress/").values()).decode().splitlines()
    return {fields["step"]: fields["loss"] for fields in map(json.loads, lines)}


@pytest.mark.long
def test_two_workers_learn_what_one_learns(dataset, tmp_path, lines):
    law = {"dtype": "float64", "batch": 5}
    fitted = on_ray.fit_on_ray(*prepare(on(2, law=law), dataset, str(tmp_path / "two")))
    assert (fitted.step, fitted.done) == (5, True)
    assert [line.partition("  ")[0] for line in lines] == [f"step {n}/5" for n in range(1, 6)]
    train(small(law=law), dataset, tmp_path / "one")
    expected = losses(tmp_path / "one")
    assert len(expected) == 5
    assert losses(tmp_path / "two") == pytest.approx(expected, abs=1e-5)
    one, two = (state_of(tmp_path / name) for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-5, msg=name)


@pytest.mark.slow
def test_sigterm_has_a_checkpoint_written_and_ends_all_workers(dataset, tmp_path, lines):
    lines.act = lambda: os.kill(os.getpid(), signal.SIGTERM)
    config = on(2, law={"steps": 100_000}, watching={"checkpoint_every": 1000})
    fitted = on_ray.fit_on_ray(*prepare(config, dataset, str(tmp_path)))
    assert not fitted.done
    assert fitted.step >= 2
    assert list(objects(tmp_path, "checkpoints/")) == [record_key(fitted.step)]
    assert objects(tmp_path, "editor/") == {}


@pytest.mark.slow
def test_what_no_restart_helps_against_ends_it_with_the_workers_words(tmp_path, lines):
    bad = {"bytes": b"not a picture", "path": "x"}
    dataset = write_pairs(tmp_path / "pairs", prompts=4, pairs=1, edited_image=bad)
    expected = r"reading\.max_bad is 0, got 1 rows .*; part-0\.parquet: row group 0, row 0: "
    with pytest.raises(InputError, match=expected):
        on_ray.fit_on_ray(*prepare(on(2), dataset, str(tmp_path / "out")))
    with pytest.raises(InputError, match="holds a training by another law"):
        fit_elsewhere(on(2, law={"seed": 9}), dataset, tmp_path / "out")


class GivingUp:
    """A trainer that Ray Train gives up before any worker is there."""

    def fit(self):
        raise ControllerError(ValueError("no node holds 8 GPUs"))


def test_what_ray_train_gives_up_by_itself_is_told_in_one_line(
    dataset, tmp_path, lines, monkeypatch
):
    monkeypatch.setattr(on_ray, "_trainer", lambda *arguments: GivingUp())
    with pytest.raises(ClusterFailed, match=r"ray: ValueError: no node holds 8 GPUs$") as e:
        on_ray.fit_on_ray(*prepare(on(1), dataset, str(tmp_path)))
    assert isinstance(e.value.__cause__, TrainingFailedError)


class Failing:
    """A trainer whose workers fail, one of them without a word."""

    def fit(self):
        failures = {1: StorageUnavailable("s3://b: no answer"), 0: ActorDiedError()}
        raise WorkerGroupError("Traceback (most recent call last): ...", failures)


def test_workers_that_fail_for_good_are_told_of_without_frames(
    dataset, tmp_path, lines, monkeypatch
):
    monkeypatch.setattr(on_ray, "_trainer", lambda *arguments: Failing())
    with pytest.raises(ClusterFailed) as ended:
        on_ray.fit_on_ray(*prepare(on(1), dataset, str(tmp_path)))
    said = str(ended.value)
    assert ended.value.exit_code == 3
    assert "run the same command to go on from the newest checkpoint" in said
    assert said.endswith(f"The last: worker 0: {DIED}; worker 1: s3://b: no answer")
    assert "Traceback" not in said


@pytest.mark.slow
def test_fewer_steps_than_are_done_are_refused_by_the_driver_too(dataset, tmp_path, lines):
    train(small(), dataset, tmp_path)
    with pytest.raises(RunMismatch, match=r"law\.steps: must be at least 5, .* got 3"):
        on_ray.fit_on_ray(*prepare(on(2, law={"steps": 3}), dataset, str(tmp_path)))


def fit_elsewhere(config, dataset, out):
    """Without the driver's own look: only the leading worker sees what is wrong."""
    return on_ray.fit_on_ray(config, Dataset.open(dataset), LocalStore(out))


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_the_training_ends_as_if_undisturbed(
    dataset, tmp_path, lines
):
    law, watching = {"steps": 60, "dtype": "float64"}, {"checkpoint_every": 3}
    lines.act = kill_a_worker
    config = on(2, law=law, watching=watching)
    fitted = on_ray.fit_on_ray(*prepare(config, dataset, str(tmp_path / "two")))
    assert (fitted.step, fitted.done) == (60, True)
    steps = [int(line.partition("/")[0].removeprefix("step ")) for line in lines]
    again = next(i for i in range(1, len(steps)) if steps[i] != steps[i - 1] + 1)
    assert steps[again] % 3 == 1, "from a checkpoint"
    assert steps[again] <= steps[again - 1] + 3
    train(small(law=law, watching=watching), dataset, tmp_path / "one")
    one, two = (state_of(tmp_path / name, 60) for name in ("one", "two"))
    for name, tensor in one.items():
        if name.startswith("weight."):
            torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-5, msg=name)


def kill_a_worker():
    """One of this process' own Ray, by its id."""
    workers = [
        child
        for child in descendants(os.getpid())
        if child.name().startswith("ray::") and "TrainWorker" in "".join(child.cmdline())
    ]
    assert len(workers) == 2
    os.kill(workers[-1].pid, signal.SIGKILL)
