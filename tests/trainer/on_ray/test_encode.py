"""`encode` on a real Ray: the same bytes as in one process."""

import os
import signal

import numpy as np
import psutil
import pytest

from factory.errors import InputError
from factory.on_ray import deaths
from factory.on_ray.deaths import Deaths
from factory.on_ray.rows import ClusterFailed
from factory.storage.local import LocalStore
from tests.factory.dataset.test_decoders import children
from tests.trainer.encoded import configuration, write_dataset
from tests.trainer.on_ray.deadly import DeadlyWorker
from trainer.latents.encode import encode_dataset
from trainer.on_ray import encode as on_ray
from trainer.on_ray.encode import encode_on_ray

pytestmark = pytest.mark.usefixtures("ray_here", "small_units")


def objects(folder):
    return {o.key: LocalStore(folder).get(o.key) for o in LocalStore(folder).list()}


@pytest.mark.long
def test_a_pool_encodes_the_same_bytes_and_tells_of_every_unit(tmp_path):
    dataset = write_dataset(tmp_path / "pairs")
    wide = configuration(compute={"min_workers": 2, "max_workers": 2})
    told, decoders = [], set()

    def tell(*counts):
        told.append(counts)
        decoders.update(children())

    record = encode_dataset(wide, dataset, str(tmp_path / "ray"), encode_on_ray, tell)
    assert [done for done, _, _ in told] == [0, 1, 2, 3, 4, 5]
    assert told[-1] == (5, 5, 1)
    assert record == encode_dataset(configuration(), dataset, str(tmp_path / "here"))
    assert objects(tmp_path / "ray") == objects(tmp_path / "here")
    # They end with their workers.
    assert decoders
    assert psutil.wait_procs(decoders, timeout=60)[1] == []


def test_a_workers_refusal_ends_the_job_with_its_words(tmp_path, monkeypatch):
    def one_worker(units, made_with, compute):
        worker = on_ray.EncodeWorker(**made_with)
        for row in worker({"unit": np.array(units)}):
            yield {name: value[0] for name, value in row.items()}

    monkeypatch.setattr(on_ray, "_pool", one_worker)
    dataset = write_dataset(tmp_path / "pairs", rows=(2,), unreadable=None)
    config = configuration()
    source = config.law.model.model_copy(update={"source": str(tmp_path / "nowhere")})
    config = config.model_copy(update={"law": config.law.model_copy(update={"model": source})})
    with pytest.raises(InputError, match="nowhere"):
        encode_dataset(config, dataset, str(tmp_path / "out"), encode_on_ray)
    assert not (tmp_path / "out" / "LATENTS.json").exists()


def test_sigterm_ends_an_encoding_for_which_no_worker_comes(tmp_path, monkeypatch):
    class Looking(Deaths):
        def look(self):
            super().look()
            os.kill(os.getpid(), signal.SIGTERM)
            self.look = super().look

    monkeypatch.setattr(on_ray, "Deaths", Looking)
    monkeypatch.setattr(on_ray, "joined", lambda compute: compute)
    dataset = write_dataset(tmp_path / "pairs", rows=(2,), unreadable=None)
    config = configuration(compute={"gpus_per_worker": 4})
    with pytest.raises(ClusterFailed, match="^interrupted; run the same command to resume$"):
        encode_dataset(config, dataset, str(tmp_path / "out"), encode_on_ray)


@pytest.mark.slow
def test_a_unit_whose_process_dies_again_and_again_ends_the_job_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "EncodeWorker", DeadlyWorker)
    monkeypatch.setattr(deaths, "MOST", 1)
    dataset = write_dataset(tmp_path / "pairs", rows=(2,), unreadable=None)
    with pytest.raises(ClusterFailed, match=r"processes died at unit 0, .* to resume$") as ended:
        encode_dataset(configuration(), dataset, str(tmp_path / "out"), encode_on_ray)
    assert ended.value.exit_code == 3
