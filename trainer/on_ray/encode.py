"""`encode` on Ray Data: units in, one pool of frozen networks, small reports out.

No pictures or latents in blocks. Workers commit their units themselves, so a block that Ray makes again can
never change the set.
"""

import sys
import traceback
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from factory import deeds
from factory.console.signals import INTERRUPTED, Drain
from factory.dataset.dataset import Dataset
from factory.dataset.files import Place
from factory.dataset.index import read_index
from factory.errors import EditmillError, InputError, first_line
from factory.on_ray.deaths import Deaths
from factory.on_ray.pool import Asked, rows_of
from factory.on_ray.rows import ClusterFailed
from factory.on_ray.words import plain
from factory.storage.open import open_store
from schemas.fit import Fit, Where
from schemas.latents import EncodedUnit, EncodingRecord
from trainer.latents.encode import encode_unit
from trainer.latents.encoder import Encoder
from trainer.latents.encoding import Unit
from trainer.on_ray.fit import joined

Batch = dict[str, np.ndarray[Any, np.dtype[Any]]]


def encode_on_ray(
    config: Fit, place: Place, out: str, record: EncodingRecord, units: Sequence[Unit]
) -> Generator[EncodedUnit, None, None]:
    """A runner over a pool of workers; joins Ray at once.

    Raises `InputError` of a worker, or `ClusterFailed`.
    """
    compute = joined(config.compute)
    made_with = {
        "config": config.model_copy(update={"compute": compute}).model_dump_json(),
        "place": place,
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
        raise ClusterFailed(f"ray: {plain(error)}") from error


def _pool(
    units: Sequence[int], made_with: dict[str, Any], compute: Where
) -> Iterator[dict[str, Any]]:
    """The rows of one execution of Ray Data; raises `EditmillError` where it is to end before."""
    held = {"num_gpus": compute.gpus_per_worker} if compute.gpus_per_worker else {"num_cpus": 1.0}
    workers = (compute.min_workers, compute.max_workers)
    # A drain of its own: the caller's is looked at only when a unit is done, and no worker may be there.
    with Drain() as drain, Deaths() as deaths:

        def look() -> bool:
            deaths.look()
            return drain.asked or deaths.gives_up() is not None

        told = made_with | {"witness": deaths.witness}
        try:
            for row in rows_of(units, EncodeWorker, told, held, workers, look):
                deaths.lives()
                yield row
        except Asked:
            raise ClusterFailed(deaths.gives_up() or INTERRUPTED) from None


class EncodeWorker:
    """One encoder; what no other worker would escape is sent back as a row, which ends the job."""

    def __init__(
        self,
        config: str,
        place: Place,
        out: str,
        record: str,
        units: dict[int, Unit],
        witness: Any = None,  # a handle of the actor, which has no type of its own
    ) -> None:
        self.witness = witness
        if witness is not None:
            context = ray.get_runtime_context()
            self.name = context.get_actor_id() or "none"
            ray.get(witness.arrive.remote(self.name, context.get_node_id()))
        deeds.anew()
        of = Fit.model_validate_json(config)
        self.record = EncodingRecord.model_validate_json(record)
        self.units = units
        self.store = open_store(out)
        self.broken: Exception | None = None
        try:
            index = read_index(self.store, self.record.law.dataset)
            self.dataset = Dataset.at(place, of.reading.columns, index)
            self.encoder = Encoder.of(of)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.broken = error

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """One small row per unit."""
        for unit in batch["unit"]:
            row = self._told(self.units[int(unit)])
            yield {name: np.array([value]) for name, value in row.items()}

    def _told(self, unit: Unit) -> dict[str, Any]:
        """Told to the witness before it begins: a process that dies can tell nobody."""
        if self.witness is None:
            return self._row(unit)
        ray.get(self.witness.begin.remote(self.name, unit.number, True))
        try:
            return self._row(unit)
        finally:
            self.witness.end.remote(self.name, unit.number)

    def _row(self, unit: Unit) -> dict[str, Any]:
        try:
            if self.broken is not None:
                raise self.broken
            pairs = self.dataset.part(unit.file)
            made = encode_unit(self.store, self.record, self.encoder, pairs, unit)
        except EditmillError as error:
            said = {"made": "", "problem": str(error), "fatal": error.exit_code}
            return said | deeds.told(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            words = f"unit {unit.number}: {first_line(error)}"
            said = {"made": "", "problem": words, "fatal": EditmillError.exit_code}
            return said | {"begun": False, "store": False}
        said = {"made": made.model_dump_json(), "problem": "", "fatal": 0}
        return said | {"begun": False, "store": False}
