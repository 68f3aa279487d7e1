"""`compute.batch_pairs: auto`: found once for a run, by its first worker."""

import shutil

import pytest
import torch

from factory.errors import StorageRefused
from factory.ledger import keys
from factory.ledger.run import create_run
from factory.pairs.batch_size import fastest
from factory.pairs.prompt_to_prompt import PromptToPrompt
from factory.storage.local import LocalStore
from factory.storage.stamped import read_stamped
from factory.verbs.machine import engine, load_engine
from schemas.config import Compute
from schemas.ledger.run import BatchRecord
from tests.factory.engine.family import recipe, save_family

torch.set_num_threads(1)
AUTO = Compute(device="cpu", batch_pairs="auto", gpus_per_worker=0)


@pytest.fixture(scope="module")
def of(tmp_path_factory):
    return recipe(save_family(tmp_path_factory.mktemp("family")), dtype="float32")


@pytest.mark.parametrize(
    ("rates", "pairs"),
    [
        ({1: 10.0}, 1),
        ({1: 10.0, 2: 18.0, 4: 19.0, 8: 19.1}, 4),
        ({1: 10.0, 2: 9.0}, 1),
        ({1: 50.0, 2: 90.0, 4: 120.0}, 4),
    ],
)
def test_the_smallest_of_nearly_the_fastest_is_taken(rates, pairs):
    assert fastest(rates) == pairs


def test_sizes_are_tried_until_twice_as_many_gain_nothing(of, monkeypatch):
    taken = {1: 1.0, 2: 1.2, 4: 1.5, 8: 3.2, 16: 6.0}
    monkeypatch.setattr(
        "factory.pairs.prompt_to_prompt.steps_of_other_sizes", lambda *_: Timed(taken)
    )
    assert list(PromptToPrompt(of, device="cpu", batch_pairs=1).rates(1e9)) == [1, 2, 4, 8]


def test_what_does_not_fit_the_device_ends_the_search(of, monkeypatch):
    monkeypatch.setattr(
        "factory.pairs.prompt_to_prompt.steps_of_other_sizes", lambda *_: Timed({1: 1.0, 2: 1.1})
    )
    assert list(PromptToPrompt(of, device="cpu", batch_pairs=1).rates(1e9)) == [1, 2]


class Timed:
    """Steps that take so long; larger ones need more memory than there is."""

    def __init__(self, taken):
        self.taken = taken

    def __enter__(self):
        return self.seconds

    def __exit__(self, *_):
        pass

    def seconds(self, rows):
        if rows // 4 not in self.taken:
            raise RuntimeError("CUDA out of memory")
        return self.taken[rows // 4]


def test_the_first_worker_of_a_run_finds_it_and_all_others_take_it(of, tmp_path, monkeypatch):
    run = create_run(LocalStore(tmp_path / "run"), of)
    found = [{1: 1.0, 2: 2.0}, {1: 1.0, 2: 1.0}]
    monkeypatch.setattr(PromptToPrompt, "rates", lambda _: found.pop(0))
    for _ in range(2):
        assert load_engine(run, AUTO).source.environment().batch_pairs == 2
    assert len(found) == 1, "measured once"
    record = read_stamped(run.store, keys.BATCH, BatchRecord, "a size")
    assert (record.batch_pairs, record.rows_per_s) == (2, {"1": 1.0, "2": 2.0})


def test_of_two_that_found_it_at_once_the_first_counts(of, tmp_path, monkeypatch):
    run = create_run(LocalStore(tmp_path / "run"), of)

    def slow(source):
        monkeypatch.setattr(PromptToPrompt, "rates", lambda _: {1: 1.0, 4: 9.0})
        load_engine(run, AUTO)
        return {1: 1.0, 2: 2.0}

    monkeypatch.setattr(PromptToPrompt, "rates", slow)
    assert load_engine(run, AUTO).source.environment().batch_pairs == 4


def test_one_whose_run_vanishes_meanwhile_stores_nothing(of, tmp_path, monkeypatch):
    run = create_run(LocalStore(tmp_path / "run"), of)

    def slow(source):
        shutil.rmtree(tmp_path / "run")
        return {1: 1.0}

    monkeypatch.setattr(PromptToPrompt, "rates", slow)
    with pytest.raises(StorageRefused, match=r"RUN\.json is gone"):
        load_engine(run, AUTO)
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_without_a_run_the_fastest_here_is_taken(of):
    source = engine(of, AUTO)
    # Which it is, is for this machine to say: whatever `rates` tries.
    assert source.environment().batch_pairs in {2**n for n in range(13)}
    assert source.rates(0.0).keys() == {1}


def test_it_is_a_number_or_auto():
    with pytest.raises(ValueError, match="batch_pairs"):
        Compute(batch_pairs="many")
    with pytest.raises(ValueError, match="batch_pairs"):
        Compute(batch_pairs=0)
