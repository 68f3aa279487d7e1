"""What the whole run will take: hours, money, storage."""

from factory.console.amounts import counted
from factory.doctor.finding import Check, Device, ok, skipped, warning
from factory.doctor.measured_batch import MeasuredBatch
from factory.pairs.estimate import estimate
from factory.pairs.triplets import TripletList
from factory.pictures import encode
from schemas.config import Config


def outlook(
    config: Config,
    triplets: TripletList | None,
    batch: MeasuredBatch | None,
    on: Device | None,
    gpus: int | None,
    price: float | None,
) -> Check[None]:
    """Hours and cost at the batch's speed, bytes by its pictures; start-up is not counted."""
    if triplets is None:
        yield skipped("plan", "give --triplets")
        return
    rate = batch.rows_per_s if batch else None
    ahead = estimate(config, triplets, rate, pair_bytes(config, batch), gpus, price)
    facts, figures = ahead.facts(), ahead.as_json()
    words = (
        f"{counted(ahead.triplets, 'triplet')}, {counted(ahead.units, 'unit')}, "
        f"{counted(ahead.candidates, 'candidate')}, {ahead.rows} rows, {facts['stored']} stored"
    )
    if ahead.hours is None:
        yield warning("plan", f"{words}; hours not known", "see what failed above", **figures)
        return
    words += f"; {facts['time']}"
    if "time of one" in facts:
        words += f", {facts['time of one']} of one"
    if "cost" in facts:
        words += f"; costs {facts['cost']}"
    if on and on.kind == "cpu" and ahead.on_gpus:
        remedy = "run the doctor on a machine like the workers'"
        yield warning("plan", f"{words}, at the speed of this CPU", remedy, **figures)
    else:
        yield ok("plan", words, **figures)


def pair_bytes(config: Config, batch: MeasuredBatch | None) -> float | None:
    """Mean size of a batch's pairs, as they are stored; None where there are none."""
    if not batch or not batch.made:
        return None
    pictures = [picture for one in batch.made for picture in (one.original, one.edited)]
    encoded = sum(len(encode(picture, config.recipe.codec)) for picture in pictures)
    return encoded / len(batch.made)
