"""What a training leaves for people: event files here and in S3, one run of Weights & Biases, lines."""

import io
import json
import struct
import sys
import tempfile
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboardX import event_file_writer
from tensorboardX.proto.event_pb2 import Event

from factory.errors import StorageRefused
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from schemas.training.fit import Watching
from schemas.training.root import RECORD
from tests.chaos.stores.passing_store import PassingStore
from tests.trainer.small import objects, png, small, train, write_pairs
from trainer.loop import StepReport
from trainer.watching.boards import run_id
from trainer.watching.journal import Journal

SHEETS = {"sheet_every": 3, "sampler": {"steps": 1}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def events(data):
    """The records of an event file: a length, its checksum, the bytes, theirs."""
    found, place = [], 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        found.append(Event.FromString(data[place + 12 : place + 12 + length]))
        place += length + 16
    assert place == len(data), "whole"
    return found


def scalars(data, name):
    return {
        event.step: pytest.approx(value.simple_value)
        for event in events(data)
        for value in event.summary.value
        if value.tag == name
    }


def pictures(data):
    return {
        event.step: pixels(value.image.encoded_image_string)
        for event in events(data)
        for value in event.summary.value
        if value.tag == "sheet"
    }


def pixels(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture).tolist()


def lines(files):
    data = b"".join(data for key, data in sorted(files.items()) if key.startswith("progress/"))
    return [json.loads(line) for line in data.splitlines()]


def sheets(files):
    return {
        int(key.removeprefix("sheets/").removesuffix(".png")): pixels(data)
        for key, data in files.items()
        if key.startswith("sheets/")
    }


def event_files(files):
    return [data for key, data in files.items() if key.startswith("tensorboard/")]


@pytest.mark.long
def test_tensorboard_has_the_figures_and_the_sheets_at_their_steps(dataset, tmp_path):
    config = small(watching=SHEETS | {"tensorboard": True})
    assert train(config, dataset, tmp_path).done
    found = objects(tmp_path)
    (data,) = event_files(found)
    assert {line["step"]: line["loss"] for line in lines(found)} == scalars(data, "loss")
    assert pictures(data) == sheets(found)
    assert sorted(pictures(data)) == [3, 5]


def test_each_start_has_an_event_file_of_its_own(dataset, tmp_path, monkeypatch):
    # Both in one second.
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: 1e9))
    config = small(watching={"tensorboard": True})
    train(config, dataset, tmp_path, should_stop=iter([False, True]).__next__)
    train(config, dataset, tmp_path)
    steps = sorted(sorted(scalars(data, "loss")) for data in event_files(objects(tmp_path)))
    assert steps == [[1], [2, 3, 4, 5]]


@pytest.mark.long
def test_a_training_in_s3_has_them_whole_and_leaves_no_scratch(
    dataset, moto_bucket, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    out = f"{moto_bucket}/watched"
    store = open_store(out)
    early = []

    def say(line):
        if line.startswith("step 3/"):
            # The checkpoint was at 2.
            early.extend(info.key for info in store.list("tensorboard/"))

    law = {"steps": 3}
    assert train(
        small(law=law, watching=SHEETS | {"tensorboard": True}), dataset, out, say=say
    ).done
    found = {info.key: store.get(info.key) for info in store.list()}
    (key,) = (key for key in found if key.startswith("tensorboard/"))
    assert early == [key]
    assert {line["step"]: line["loss"] for line in lines(found)} == scalars(found[key], "loss")
    assert pictures(found[key]) == sheets(found)
    assert list(pictures(found[key])) == [3]
    assert list(tmp_path.iterdir()) == []


class Closed(PassingStore):
    """A store that takes nothing while it is closed."""

    closed = False

    def put(self, key, data):
        if self.closed:
            raise StorageRefused(f"{key}: closed")
        super().put(key, data)


def test_what_a_store_refused_is_said_and_put_there_the_next_time(tmp_path):
    LocalStore(tmp_path).put(RECORD, b"{}")
    store, said = Closed(LocalStore(tmp_path)), []
    journal = Journal(store, Watching(report_every=1), small(False).law, said.append)
    store.closed = True
    for step in (1, 2):
        journal.see(StepReport(step, loss=0.5, norm=1.0, rate=0.1, seconds=1.0))
        journal.store_files()
    journal.figure(2, edit_accuracy=0.5)
    journal.sheet(2, png(0))
    assert set(objects(tmp_path)) == {RECORD}
    refused = [line for line in said if not line.startswith("step ")]
    assert len(refused) == 3
    assert refused[0].startswith("progress was not stored: progress/000000001-")
    store.closed = False
    journal.see(StepReport(3, loss=0.5, norm=1.0, rate=0.1, seconds=1.0))
    journal.close()
    found = objects(tmp_path)
    assert [line["step"] for line in lines(found)] == [1, 2, 2, 3]
    (data,) = event_files(found)
    assert sorted(scalars(data, "loss")) == [1, 2, 3]
    assert sheets(found) == pictures(data) == {2: pixels(png(0))}


class Run:
    """A run of Weights & Biases: what it is told, less what it drops for an old step of its own."""

    def __init__(self):
        self.step, self.told, self.axes = 0, [], {}

    def define_metric(self, name, step_metric=None):
        self.axes[name] = step_metric

    def log(self, data, step=None):
        if step is None or step >= self.step:
            self.step = self.step + 1 if step is None else step
            self.told.append({"step": step} | data)

    def finish(self):
        """The next start begins a step of its own."""
        self.step += 1


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package: what `init` was called with, and its runs by id."""
    module = ModuleType("wandb")
    module.calls, module.runs = [], {}

    def init(**settings):
        module.calls.append(settings)
        return module.runs.setdefault(settings.get("id", len(module.runs)), Run())

    module.init = init
    module.Image = lambda picture: SimpleNamespace(pixels=np.asarray(picture).tolist())
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.mark.long
def test_weights_and_biases_has_one_run_for_all_starts(dataset, tmp_path, wandb):
    config = small(watching=SHEETS | {"wandb": "mine"})

    def dies(line):
        if line.startswith("step 3/"):
            raise KeyError

    # Step 3 was told there, its sheet was not; the next start goes on from the checkpoint at 2.
    with pytest.raises(KeyError):
        train(config, dataset, str(tmp_path), say=dies)
    assert train(config, dataset, tmp_path).done
    settings = {
        "project": "mine",
        "id": run_id(config.law, str(tmp_path)),
        "resume": "allow",
        "config": config.law.model_dump(mode="json"),
    }
    assert wandb.calls == [settings, settings]
    (run,) = wandb.runs.values()
    assert run.axes == {"step": None, "*": "step"}
    losses = [(told["step"], told["loss"]) for told in run.told if "loss" in told]
    assert [step for step, _ in losses] == [1, 2, 3, 3, 4, 5]
    assert dict(losses) == {line["step"]: line["loss"] for line in lines(objects(tmp_path))}
    shown = {told["step"]: told["sheet"].pixels for told in run.told if "sheet" in told}
    assert shown == sheets(objects(tmp_path))
    assert sorted(shown) == [3, 5]


def test_a_service_that_is_not_reached_ends_no_training(dataset, tmp_path, wandb):
    def init(**settings):
        raise RuntimeError("no API key")

    wandb.init = init
    said = []
    config = small(watching=SHEETS | {"wandb": "mine"})
    assert train(config, dataset, str(tmp_path), say=said.append).done
    assert said[0] == "Weights & Biases was not reached, and is not told: RuntimeError: no API key"


def test_a_run_is_of_one_law_and_one_root():
    law, other = (small(False, law={"seed": seed}).law for seed in (0, 1))
    found = [run_id(law, "s3://a/b"), run_id(other, "s3://a/b"), run_id(law, "s3://a/c")]
    assert len(set(found)) == 3
    assert run_id(law.model_copy(update={"steps": 9}), "s3://a/b") == found[0], "only longer"
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in found)


def test_the_oracles_word_on_the_editor_is_among_the_lines(dataset, tmp_path):
    config = small(
        law={"model": {"source": "miniature"}, "size_px": 64, "steps": 1, "batch": 1},
        watching={"sheet_every": 1, "oracle_edits": 2, "sampler": {"steps": 1}},
    )
    said = []
    assert train(config, dataset, str(tmp_path), say=said.append).done
    (judged,) = (line for line in lines(objects(tmp_path)) if "edit_accuracy" in line)
    assert judged.keys() == {"step", "edit_accuracy", "kept_rest", "identity_share"}
    assert judged["step"] == 1
    assert all(judged[name] in (0, 0.5, 1) for name in judged.keys() - {"step"})
    assert any(line.startswith("step 1: of 2 edits ") for line in said)


def left(tmp_path, *seconds, first=1):
    """What the lines say of the time that is left, after steps that took so long."""
    said = []
    watching = Watching(report_every=1, tensorboard=False)
    journal = Journal(
        LocalStore(tmp_path), watching, small(False, law={"steps": 1000}).law, said.append
    )
    for step, took in enumerate(seconds, first):
        journal.see(StepReport(step, loss=0.5, norm=1.0, rate=0.1, seconds=took))
    return [line.split("pairs/s")[1].strip() for line in said]


def test_the_time_that_is_left_is_steady_and_waits_until_enough_is_known(tmp_path):
    # The first step loads, the sixth waits for a checkpoint.
    assert left(tmp_path, 600, 2, 2, 2, 2, 99, 2) == [
        *("", "", ""),
        "33 min 12 s left",
        "33 min 10 s left",
        "33 min 8 s left",
        "33 min 6 s left",
    ]
    assert left(tmp_path, 600, 2, 2, 2, first=997) == ["", "", "", ""], "the end has none"


def test_a_line_of_a_step_moves_a_bar(tmp_path):
    said = []
    journal = Journal(LocalStore(tmp_path), Watching(report_every=1), small(False).law, said.append)
    journal.see(StepReport(2, loss=0.5, norm=1.0, rate=0.1, seconds=1.0))
    assert (said[0].done, said[0].beside) == (2, "loss 0.50000  4.0 pairs/s")
