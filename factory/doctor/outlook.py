"""What the whole run will take: hours, money, storage."""

from factory.codec import encode
from factory.doctor.batch import Batch
from factory.doctor.finding import Check, Device, ok, size, skipped, warning
from factory.estimate import estimate
from factory.triplets import TripletList
from schemas.config import Config


def outlook(
    config: Config,
    triplets: TripletList | None,
    batch: Batch | None,
    on: Device | None,
    gpus: int | None,
    price: float | None,
) -> Check[None]:
    """Hours and cost at the batch's speed, bytes by its pictures; start-up is not counted."""
    if triplets is None:
        yield skipped("plan", "give --triplets")
        return
    compute = config.compute
    on_gpus = compute.gpus_per_worker > 0
    workers = gpus or compute.max_workers * (compute.gpus_per_worker if on_gpus else 1)
    noun = "GPU" if on_gpus else "CPU worker"
    many = f"{workers:g} {noun}" + "s" * (workers != 1)
    rate = batch.rows_per_s if batch else None
    found = estimate(config, triplets, rate, pair_bytes(config, batch))
    said = (
        f"{found.triplets} triplets, {found.units} units, {found.candidates} candidates, "
        f"{found.rows} rows, at most {size(found.storage_bytes)} stored"
    )
    figures = found.as_json() | {"gpus": workers, "hours": None, "cost": None}
    if found.gpu_hours is None:
        yield warning("plan", f"{said}; hours not known", "see what failed above", **figures)
        return
    figures["hours"] = found.gpu_hours / workers
    said += f"; {_hours(figures['hours'])} on {many}"
    if workers != 1:
        said += f", {_hours(found.gpu_hours)} of one"
    if price is not None:
        figures["cost"] = found.gpu_hours * price
        said += f"; costs {figures['cost']:,.2f}"
    if on and on.kind == "cpu" and on_gpus:
        remedy = "run the doctor on a machine like the workers'"
        yield warning("plan", f"{said}, at the speed of this CPU", remedy, **figures)
    else:
        yield ok("plan", said, **figures)


def pair_bytes(config: Config, batch: Batch | None) -> float | None:
    """Mean size of a batch's pairs, as they are stored; None where there are none."""
    if not batch or not batch.made:
        return None
    pictures = [picture for one in batch.made for picture in (one.original, one.edited)]
    encoded = sum(len(encode(picture, config.recipe.codec)) for picture in pictures)
    return encoded / len(batch.made)


def _hours(hours: float) -> str:
    return f"{hours * 60:.1f} minutes" if hours < 1 else f"{hours:,.1f} hours"
