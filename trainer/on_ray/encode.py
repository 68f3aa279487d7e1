"""`encode` on Ray Data: units in, one pool of frozen networks, small reports out.

No pictures or latents in blocks. Workers commit their units themselves, so a block that Ray makes again can
never change the set.
"""

import logging
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from factory import deeds
from factory.errors import EditmillError, InputError, first_line
from factory.on_ray.rows import ClusterFailed
from factory.storage.open import open_store
from schemas.fit import Fit, Where
from schemas.latents import EncodedUnit, EncodingRecord
from trainer.encode import Files, encode_unit
from trainer.encoder import Encoder
from trainer.encoding import Unit
from trainer.index import read_index
from trainer.on_ray.fit import joined

MOST_BLOCKS = 16_384
"""Blocks of units at most; a block is what Ray hands to a worker at once."""

Batch = dict[str, np.ndarray[Any, np.dtype[Any]]]


def encode_on_ray(
    config: Fit, dataset: str, out: str, record: EncodingRecord, units: Sequence[Unit]
) -> Generator[EncodedUnit, None, None]:
    """A runner over a pool of workers; joins Ray at once.

    Raises `InputError` of a worker, or `ClusterFailed`.
    """
    compute = joined(config.compute)
    made_with = {
        "config": config.model_copy(update={"compute": compute}).model_dump_json(),
        "dataset": dataset,
        "out": out,
        "record": record.model_dump_json(),
        "units": {unit.number: unit for unit in units},
    }
    return _made([unit.number for unit in units], made_with, compute)


def _made(
    units: Sequence[int], made_with: dict[str, Any], compute: Where
) -> Generator[EncodedUnit, None, None]:
    try:
        for row in _pool(units, made_with, compute):
            if row["problem"]:
                fatal = int(row["fatal"])
                deeds.hear(bool(row["begun"]), bool(row["store"]))
                raise (InputError if fatal == InputError.exit_code else ClusterFailed)(
                    str(row["problem"])
                )
            yield EncodedUnit.model_validate_json(str(row["made"]))
    except RayError as error:
        raise ClusterFailed(f"ray: {first_line(error)}") from error


def _pool(
    units: Sequence[int], made_with: dict[str, Any], compute: Where
) -> Iterator[dict[str, Any]]:
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    # A GPU may be long in coming.
    context.execution_no_progress_timeout_s = -1
    # Every row leaves its worker at once, or progress would wait for a whole block.
    context.target_max_block_size = 1
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    held = {"num_gpus": compute.gpus_per_worker} if compute.gpus_per_worker else {"num_cpus": 1.0}
    with DataContext.current(context):
        rows = (
            ray.data.from_items(
                [{"unit": unit} for unit in units],
                override_num_blocks=min(len(units), MOST_BLOCKS),
            )
            .map_batches(
                EncodeWorker,
                batch_size=1,
                **held,
                compute=ActorPoolStrategy(
                    min_size=compute.min_workers, max_size=compute.max_workers
                ),
                fn_constructor_kwargs=made_with,
            )
            .iter_rows()
        )
    yield from rows


class EncodeWorker:
    """One encoder; what no other worker would escape is sent back as a row, which ends the job."""

    def __init__(
        self, config: str, dataset: str, out: str, record: str, units: dict[int, Unit]
    ) -> None:
        deeds.anew()
        of = Fit.model_validate_json(config)
        self.record = EncodingRecord.model_validate_json(record)
        self.units = units
        self.store = open_store(out)
        self.broken: EditmillError | None = None
        try:
            index = read_index(self.store, self.record.law.dataset)
            self.files = Files(dataset, of.reading.columns, index)
            self.encoder = Encoder.of(of)
        except EditmillError as error:
            self.broken = error

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """One small row per unit."""
        for unit in batch["unit"]:
            row = self._row(self.units[int(unit)])
            yield {name: np.array([value]) for name, value in row.items()}

    def _row(self, unit: Unit) -> dict[str, Any]:
        try:
            if self.broken is not None:
                raise self.broken
            pairs = self.files.pairs(unit.file)
            made = encode_unit(self.store, self.record, self.encoder, pairs, unit)
        except EditmillError as error:
            said = {"made": "", "problem": str(error), "fatal": error.exit_code}
            return said | deeds.told(error)
        said = {"made": made.model_dump_json(), "problem": "", "fatal": 0}
        return said | {"begun": False, "store": False}
