"""`encode`, a stage: the latents and contexts of a dataset's rows, once for all trainings on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from safetensors.torch import save

from factory.dataset.dataset import Dataset
from factory.dataset.files import Place
from factory.dataset.index import Index, find_index, read_index, store_index
from factory.dataset.truncation import say_truncation
from factory.engine.text.limit import TextLimit
from factory.errors import EditmillError, NeedsRepair, RunMismatch
from factory.ledger.plan import Row
from factory.ledger.run import Run, open_run
from factory.ledger.units.outcomes import Data, Outcomes
from factory.models.find import placed
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.work.job import NOTHING_KEPT, begin, run_job
from factory.work.plain_loop import run_here
from factory.work.reports import Runner
from factory.work.stage import Stage
from schemas.arrow import rows_to_json
from schemas.config import Budget
from schemas.ledger.tally import count
from schemas.training.fit import Fit, Where
from schemas.training.latents import (
    ENCODE,
    EncodedRow,
    EncodingEnvironment,
    LatentsLaw,
    Slice,
    Verdict,
)
from trainer.latents.encoder import Encoder
from trainer.latents.reader import Latents, find_latents
from trainer.latents.slices import cut, homes, latents_law

NOWHERE = EncodingEnvironment(device="none", torch="none", threads=0, pictures=0)
"""Of what was never made."""


@dataclass(frozen=True)
class EncodeTerms:
    """Where an encoding runs; it stops when all is encoded."""

    compute: Where
    budget: Budget = Budget()


def encode_stage(config: Fit, place: Place) -> Stage:
    """The stage for one dataset; the law's files must be pinned."""
    return Stage(layout=ENCODE, load=partial(load_encoder, config, place), fail=fail_slices)


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
    store, reading = open_store(out), config.reading
    limit = TextLimit(placed(config.law.model, "text_to_image"))
    opened = Dataset.open(dataset, reading, _known(store), limit)
    for note in opened.files.notes:
        say(note)
    law = latents_law(config.law, reading.columns, opened.digest)
    slices = cut(opened.index, law.size_px)
    stage = encode_stage(config, opened.files.place)
    run, plan = begin(ENCODE, store, lambda: law, slices, 1, retry_failed=retry_failed)
    store_index(store, opened.index)
    say_truncation(store, opened, say)
    result = run_job(stage, run, plan, EncodeTerms(config.compute), run_with(stage))
    # Whatever was sealed before: a unit of it may be open again.
    latents = find_latents(store) if result.exit_code in (0, NOTHING_KEPT) else None
    if latents is None:
        damaged = result.exit_code == NeedsRepair.exit_code
        raise (NeedsRepair if damaged else EditmillError)(result.message)
    return latents


def _known(store: ObjectStore) -> Index | None:
    """The index of the dataset whose latents a root holds, if it does. Raises `Damaged`."""
    try:
        run = open_run(store)
    except RunMismatch:
        # Whatever else is there, who begins a run refuses.
        return None
    if run.layout.stage != ENCODE.stage:
        return None
    return find_index(store, LatentsLaw.read(run.recipe).dataset)


def load_encoder(config: Fit, place: Place, run: Run, compute: Where) -> "SliceMaker":
    """What a worker encodes with."""
    index = read_index(run.store, run.recipe.dataset)
    encoder = Encoder.of(config.law, compute)
    return SliceMaker(encoder, Dataset.at(place, config.reading.columns, index))


def fail_slices(run: Run, items: Sequence[Row], reason: str) -> Outcomes:
    """Every row of these slices as failed; their contexts are lost to the training, too."""
    rows = [
        EncodedRow(row=row, verdict=Verdict.FAILED, reason=reason)
        for item in items
        for row in range(Slice.model_validate(item).rows)
    ]
    return Outcomes(rows, count(ENCODE, rows_to_json(rows)), NOWHERE)


class SliceMaker:
    """Encodes slices: tensors as the unit's data, a row's outcome for each."""

    def __init__(self, encoder: Encoder, dataset: Dataset) -> None:
        self.encoder = encoder
        self.dataset = dataset
        index = dataset.index
        self._firsts = dict(zip(*np.unique(index.file, return_index=True), strict=True))
        self._homes = set(homes(index).values())

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """The one slice that a unit holds."""
        (one,) = (Slice.model_validate(item) for item in items)
        first = int(self._firsts[self.dataset.index.files.index(one.file)]) + one.first
        new = [row for row in range(one.rows) if first + row in self._homes]
        part = self.dataset.part(one.file)
        tensors, reasons = self.encoder.encode(part, one, new, leads=unit == 0)
        rows = [
            EncodedRow(row=row, verdict=Verdict.FAILED if why else Verdict.ENCODED, reason=why)
            for row, why in enumerate(reasons)
        ]
        data = Data(save(tensors), one.rows, "safetensors")
        return Outcomes(rows, count(ENCODE, rows_to_json(rows)), self.encoder.environment, data)

    def close(self) -> None:
        self.encoder.close()
