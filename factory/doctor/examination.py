"""All checks in order; one that fails stops only those that build on it."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from factory.doctor import outlook, readiness
from factory.doctor.batch_sizes import PATIENCE_S, Steps, batch_sizes
from factory.doctor.examples import bundled, examples
from factory.doctor.finding import Check, Device, Finding, MeasuredSource, guarded, skipped
from factory.doctor.measured_batch import MeasuredBatch, make_batch
from factory.doctor.pictures import pictures
from factory.doctor.scores import scores
from factory.models.find import model_sources, still_to_fetch
from factory.pairs.triplets import TripletList
from schemas.config import Compute, Config
from schemas.recipe import Recipe


@dataclass(frozen=True)
class ExaminationOrder:
    """What is asked of the doctor."""

    config: Config
    triplets: str | None = None
    max_bad: int = 0
    out: str | None = None
    gpus: int | None = None
    price_per_gpu_hour: float | None = None


def examine(
    order: ExaminationOrder,
    find_device: Callable[[str], Device],
    make_engine: Callable[[Recipe, Compute], MeasuredSource],
    tell: Callable[[str], None],
    steps: Steps | None = None,
) -> Generator[Finding, None, None]:
    """Every finding, as it is made; `tell` hears what is being done that may take a while.

    Without `steps` other batch sizes are not tried.
    """
    config = order.config
    yield from readiness.configuration(config)
    tell("doctor: finds and hashes the model files")
    for line in still_to_fetch(model_sources(config.recipe)):
        tell(f"doctor: {line}")
    recipe = yield from guarded(
        "model files",
        readiness.model_files(config.recipe),
        "fetch the model again, or name another one under recipe",
    )
    triplets = yield from guarded(
        "triplets",
        readiness.triplet_list(order.triplets, order.max_bad),
        "correct the list, or skip bad lines with --max-bad N",
    )
    tell("doctor: tries the store") if order.out else None
    yield from guarded(
        "store",
        readiness.store(order.out, recipe, triplets),
        "give --out an empty folder or prefix on a disk, or on an S3 with conditional writes",
    )
    device = yield from guarded(
        "device",
        readiness.device(config, find_device),
        "compute.device=auto takes what is there; a GPU needs a CUDA build of torch and its driver",
    )
    batch = yield from _batch(order, recipe, triplets, device, make_engine, tell, steps)
    yield from guarded(
        "plan",
        outlook.outlook(config, triplets, batch, device, order.gpus, order.price_per_gpu_hour),
        "correct --triplets",
    )


def _batch(
    order: ExaminationOrder,
    recipe: Recipe | None,
    triplets: TripletList | None,
    device: Device | None,
    make_engine: Callable[[Recipe, Compute], MeasuredSource],
    tell: Callable[[str], None],
    steps: Steps | None,
) -> Check[MeasuredBatch | None]:
    """Load, make, look, score, try other sizes."""
    compute = order.config.compute
    if recipe is None or device is None:
        yield skipped("models load", f"needs {'a device' if recipe else 'the model files'}")
        yield from _no_pictures("need the models")
        return None
    tell("doctor: loads the models")
    source = yield from guarded(
        "models load",
        readiness.models_load(recipe, compute, device, make_engine),
        "another revision of the model, or one that editmill supports (Stable Diffusion 1.x, 2.x)",
    )
    if source is None:
        yield from _no_pictures("need the models")
        return None
    suited = triplets.triplets if triplets else bundled(order.config.recipe)
    configured = compute.batch_pairs
    pairs = source.environment().batch_pairs if configured == "auto" else configured
    draws = examples(recipe, suited, pairs)
    tell(f"doctor: makes one candidate, then a batch of {len(draws)}")
    batch = yield from guarded(
        "speed",
        make_batch(source, recipe, draws, device),
        "see the message; --set compute.device=cpu --set compute.batch_pairs=1 makes the smallest try",
    )
    if batch is None or not batch.outcomes:
        yield from _no_pictures("no batch was finished")
        return batch
    yield from pictures(batch, recipe)
    if batch.made:
        yield from guarded("scores", scores(batch, recipe), "look at recipe.clip")
    if steps is not None:
        tell(f"doctor: tries other batch sizes for {PATIENCE_S:.0f} s at most")
        with steps(source, draws) as seconds:
            yield from guarded(
                "batch size",
                batch_sizes(pairs, batch, seconds),
                "keep compute.batch_pairs as it is: the batch above was made with it",
            )
    return batch


def _no_pictures(why: str) -> Generator[Finding, None, None]:
    yield skipped("pictures", why)
    yield skipped("scores", why)
