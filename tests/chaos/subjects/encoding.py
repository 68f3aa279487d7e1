"""`encode` at work on a small dataset: as it is, or with networks that are a few sums."""

import atexit
import hashlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch.nn.functional import avg_pool2d

from factory.dataset.dataset import Dataset
from factory.dataset.decoders import Decoders
from factory.engine.text.encoder import Words
from factory.errors import EditmillError, first_line
from factory.work.job import begin, run_job
from schemas.config import Budget
from schemas.training.fit import Fit
from schemas.training.latents import ENCODE, Slice
from tests.chaos.subjects.subject import Subject
from tests.factory.engine.tiny import save_tiny
from tests.trainer.encoded import write_dataset
from trainer.fit import pin_law
from trainer.latents import slices
from trainer.latents.encode import EncodeTerms, SliceMaker, encode_dataset, encode_stage
from trainer.latents.encoder import Encoder
from trainer.latents.slices import cut, latents_law

SLICES_OF_A_FILE = 4


class Encode(Subject):
    """As it is: decoders, a tiny model of random weights, slices of `outcomes` rows."""

    layout = ENCODE

    @cached_property
    def dataset(self) -> str:
        """Files of a few slices; the last slice of each lacks a row."""
        self.lay_out()
        return str(self._dataset)

    @property
    def _dataset(self) -> Path:
        return self.folder / f"pairs-{self._units}-{self.work.outcomes}"

    @property
    def _units(self) -> int:
        """What the plan may be extended to."""
        return self.work.units

    def lay_out(self):
        if not (self.folder / "model").exists():
            save_tiny(self.folder / "model", 0)
        if not self._dataset.exists():
            firsts = range(0, self._units, SLICES_OF_A_FILE)
            counts = (min(SLICES_OF_A_FILE, self._units - first) for first in firsts)
            rows = [count * self.work.outcomes - 1 for count in counts]
            write_dataset(self._dataset, rows, unreadable=1)

    @cached_property
    def config(self) -> Fit:
        self.lay_out()
        config = Fit(
            law={"model": {"source": str(self.folder / "model")}, "size_px": 16},
            compute={
                "device": "cpu",
                "gpus_per_worker": 0,
                # All at once, since each takes long to load.
                "min_workers": self.work.workers,
                "max_workers": self.work.workers,
                "micro_batch": 4,
                "loaders": 1,
            },
        )
        return config.model_copy(update={"law": pin_law(config.law)})

    @cached_property
    def pairs(self):
        return Dataset.open(self.dataset)

    @cached_property
    def stage(self):
        return encode_stage(self.config, self.pairs.files.place)

    @cached_property
    def recipe(self):
        return latents_law(self.config.law, self.config.reading.columns, self.pairs.digest)

    def terms(self, limit=None):
        return EncodeTerms(self.config.compute, Budget(limit=limit))

    def items(self, count=None):
        rows = self.work.outcomes
        with patch.multiple(slices, MOST_ROWS=rows, LEAST_ROWS=rows):
            return cut(self.pairs.index, 16)[: self.work.units if count is None else count]

    def start(
        self,
        store,
        run_with,
        count=None,
        *,
        retry_failed=False,
        limit=None,
        once_planned=lambda run, plan: None,
    ):
        results = []

        def job(stage, run, plan, terms, runner):
            once_planned(run, plan)
            terms = replace(terms, budget=Budget(limit=limit))
            results.append(run_job(stage, run, plan, terms, runner))
            return results[0]

        def longer(*arguments, **options):
            # A dataset that grew is another one; as a longer list of one's slices it is an extension.
            return begin(*arguments, **options, extend=True)

        wanted = self.items(count)
        with (
            patch("trainer.latents.encode.open_store", lambda _: store),
            patch("trainer.latents.encode.cut", lambda index, size_px: wanted),
            patch("trainer.latents.encode.begin", longer),
            patch("trainer.latents.encode.run_job", job),
        ):
            try:
                encode_dataset(
                    self.config, self.dataset, store.uri, run_with, retry_failed=retry_failed
                )
            except EditmillError as error:
                # It says so where not all is sealed.
                if not results or type(error) is not EditmillError:
                    raise
        return results[0]

    def ids(self, items):
        return [Slice.model_validate(item).item_id for item in items]

    def names(self, items, rows):
        (item,) = self.ids(items)
        return [(item, row["row"]) for row in rows]

    def kept_in(self, items, data):
        (item,) = self.ids(items)
        try:
            tensors = load(data)
        except SafetensorError as error:
            raise ValueError(first_line(error)) from None
        rows = [tensors[name].tolist() for name in tensors if name.startswith("rows.")]
        return [(item, row) for of_shape in rows for row in of_shape]

    def heard(self, maker, hear):
        maker.dataset = HeardDataset(maker.dataset, self.work.outcomes, hear)
        return maker


class HeardDataset:
    """Tells of each row before it is read."""

    def __init__(self, dataset, rows, hear):
        self.dataset = dataset
        self.index = dataset.index
        self.rows = rows
        self.hear = hear

    def part(self, name):
        pairs = self.dataset.part(name)

        def pair(row):
            index = row % self.rows
            self.hear(Slice(file=name, first=row - index, rows=1).item_id, index)
            return pairs.pair(row)

        return SimpleNamespace(pair=pair)


class EncodeStub(Encode):
    """With stubbed networks: all else is the product's."""

    @property
    def _units(self):
        return 9

    def start(self, *arguments, **options):
        def of(law, compute):
            return StubbedEncoder(law, 0)

        with patch("trainer.latents.encode.Encoder.of", of):
            return super().start(*arguments, **options)

    def own_maker(self, number, run):
        return SliceMaker(StubbedEncoder(self.config.law, number), self._files)

    @cached_property
    def _files(self):
        return Dataset.at(self.pairs.files.place, self.config.reading.columns, self.pairs.index)


_decoders = Decoders()
"""Stay for the next run of this process."""
atexit.register(_decoders.close)


class StubbedEncoder(Encoder):
    """The encoder over networks whose answers follow from what they are asked, and from a number."""

    def __init__(self, law, number):
        super().__init__(StubConditions(number), law, pictures=4)
        self.number = number
        self._decoders = _decoders

    def close(self):
        """Nothing: the decoders stay."""

    @property
    def environment(self):
        return super().environment.model_copy(update={"device": f"stub {self.number}"})


class StubConditions:
    """Sums of pixels for latents, a hash for words."""

    autoencoder = SimpleNamespace(
        factor=8, network=SimpleNamespace(parameters=lambda: iter([torch.zeros(1)]))
    )

    def __init__(self, number):
        self.number = number
        self.text = SimpleNamespace(zeros=False, words=self.words)

    def latents(self, pictures):
        means = avg_pool2d(pictures.float(), self.autoencoder.factor) + self.number
        found = torch.cat([means, means[:, :1]], 1)
        return found, -found

    def words(self, instruction):
        digest = hashlib.sha256(instruction.encode()).digest()
        tokens = torch.from_numpy(np.frombuffer(digest, np.uint8).astype(np.float32))
        return Words(tokens.reshape(8, 4) + self.number, None)
