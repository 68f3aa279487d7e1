"""`encode`, a stage: the latents and contexts of a dataset's rows, once for all trainings on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from safetensors.torch import save

from factory.errors import EditmillError, RunMismatch
from factory.ledger.outcomes import Data, Outcomes
from factory.ledger.plan import Row
from factory.ledger.run import Run, open_run
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.work.job import begin, run_job
from factory.work.plain_loop import run_here
from factory.work.reports import Runner
from factory.work.stage import Stage
from schemas.arrow import rows_to_json
from schemas.config import Budget
from schemas.fit import Columns, Fit, Where
from schemas.latents import ENCODE, EncodedRow, EncodingEnvironment, LatentsLaw, Slice, Verdict
from schemas.tally import count
from trainer.feeding.dataset import known_or_open
from trainer.feeding.find_files import shelf_of
from trainer.feeding.index import Index, read_index, store_index
from trainer.feeding.pairs import Pairs
from trainer.feeding.truncation import Truncation, say_truncation
from trainer.latents.encoder import Encoder
from trainer.latents.reader import Latents, find_latents
from trainer.latents.slices import cut, homes, latents_law

NOWHERE = EncodingEnvironment(device="none", torch="none", threads=0, pictures=0)
"""Of what was never made."""


@dataclass(frozen=True)
class Terms:
    """Where an encoding runs; it stops when all is encoded."""

    compute: Where
    budget: Budget = Budget()


def encode_stage(config: Fit, dataset: str) -> Stage:
    """The stage for one dataset; the law's files must be pinned."""
    return Stage(layout=ENCODE, load=partial(load_encoder, config, dataset), fail=fail_slices)


def encode_dataset(
    config: Fit,
    dataset: str,
    out: str,
    run_with: Callable[[Stage], Runner] = run_here,
    say: Callable[[str], None] = lambda line: None,
    *,
    retry_failed: bool = False,
) -> Latents:
    """Encode what is not yet encoded in `out`, then seal it; the law's files must be pinned.

    `say` hears what there is to say of the dataset. Raises `EditmillError` where it is not whole yet,
    `InputError`, and `RunMismatch` where `out` holds something else.
    """
    store, reading, truncation = open_store(out), config.reading, Truncation(config.law.model)
    pairs = known_or_open(store, _dataset_of(store), dataset, reading, truncation)
    for note in pairs.shelf.notes:
        say(note)
    law = latents_law(config.law, reading.columns, pairs.digest)
    slices = cut(pairs.index, law.size_px)
    stage = encode_stage(config, pairs.shelf.store.uri)
    run, plan = begin(stage, store, lambda: law, slices, 1, retry_failed=retry_failed)
    store_index(store, pairs.index)
    say_truncation(store, pairs.digest, truncation, say)
    result = run_job(stage, run, plan, Terms(config.compute), run_with(stage))
    latents = find_latents(store)
    if latents is None:
        raise EditmillError(result.message)
    return latents


def _dataset_of(store: ObjectStore) -> str | None:
    """The digest of the dataset whose latents a root holds; None for an empty one.

    Raises `Damaged`, and `RunMismatch` where it holds a run of another stage.
    """
    try:
        run = open_run(store)
    except RunMismatch:
        # Whatever else is there, who begins a run refuses.
        return None
    return LatentsLaw.read(run.recipe).dataset if run.layout.stage == ENCODE.stage else None


def load_encoder(config: Fit, dataset: str, run: Run, compute: Where) -> "SliceMaker":
    """What a worker encodes with."""
    index = read_index(run.store, LatentsLaw.read(_plain(run)).dataset)
    encoder = Encoder.of(config.law, compute)
    return SliceMaker(encoder, Files(dataset, config.reading.columns, index))


def fail_slices(run: Run, items: Sequence[Row], reason: str) -> Outcomes:
    """Every row of these slices as failed; their contexts are lost to the training, too."""
    rows = [
        EncodedRow(row=row, verdict=Verdict.FAILED, reason=reason)
        for item in items
        for row in range(Slice.model_validate(item).rows)
    ]
    return Outcomes(rows, count(ENCODE, rows_to_json(rows)), NOWHERE)


class Files:
    """A dataset's files, of which the newest stays open."""

    def __init__(self, dataset: str, columns: Columns, index: Index) -> None:
        self.shelf = shelf_of(dataset, index.files)
        self.columns = columns
        self.index = index
        self._open: tuple[str, Pairs] | None = None

    def pairs(self, name: str) -> Pairs:
        """One file's rows, numbered from 0. Raises `InputError`."""
        if self._open is None or self._open[0] != name:
            shelf = self.shelf.of([name])
            index = self.index.of_file(name)
            self._open = name, Pairs(shelf, self.columns, index, passing=True)
        return self._open[1]


class SliceMaker:
    """Encodes slices: tensors as the unit's data, a row's outcome for each."""

    def __init__(self, encoder: Encoder, files: Files) -> None:
        self.encoder = encoder
        self.files = files
        index = files.index
        self._firsts = dict(zip(*np.unique(index.file, return_index=True), strict=True))
        self._homes = set(homes(index).values())

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """The one slice that a unit holds."""
        (one,) = (Slice.model_validate(item) for item in items)
        first = int(self._firsts[self.files.index.files.index(one.file)]) + one.first
        new = [row for row in range(one.rows) if first + row in self._homes]
        pairs = self.files.pairs(one.file)
        tensors, reasons = self.encoder.encode(pairs, one, new, leads=unit == 0)
        rows = [
            EncodedRow(row=row, verdict=Verdict.FAILED if why else Verdict.ENCODED, reason=why)
            for row, why in enumerate(reasons)
        ]
        data = Data(save(tensors), one.rows, "safetensors")
        return Outcomes(rows, count(ENCODE, rows_to_json(rows)), self.encoder.environment, data)

    def close(self) -> None:
        """End the decoders."""
        self.encoder.close()


def _plain(run: Run) -> dict[str, Any]:
    recipe = run.recipe
    return recipe if isinstance(recipe, dict) else dict(recipe.model_dump(mode="json"))
