"""What a verb starts on this machine: an engine, workers, a device; torch and Ray only then."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from factory.doctor.finding import Device, MeasuredSource
from factory.edits.edit import EditMaker, Editors
from factory.edits.first_pictures import first_pictures
from factory.ledger.run import Run
from factory.models.find import placed_models
from factory.models.pin import pin
from factory.pairs.batch_size import Rated, batch_of_run
from factory.pairs.cleaning.purge import Purger
from factory.pairs.cleaning.purged import read_purged
from factory.pairs.generate import PairMaker, generate_stage
from factory.pairs.reselection import Candidates, Reselector, selected_run
from factory.pairs.source import Draw
from factory.work.plain_loop import run_here
from factory.work.reports import Runner
from factory.work.stage import Stage
from schemas.config import Compute, Config
from schemas.editors import DiffusersPipeline
from schemas.edits import EditCompute, EditRecipe
from schemas.recipe import Recipe
from schemas.running.pool import Pool


def generate(config: Config) -> tuple[Stage, Runner]:
    """The stage `generate` with the engine, and where it runs: here or on Ray."""
    stage = generate_stage(load_engine)
    return stage, runner(stage, config.compute)


def runner(stage: Stage, pool: Pool) -> Runner:
    """Where units of a stage are made: here or on Ray."""
    if pool.where == "ray":
        from factory.on_ray.units import run_on_ray

        return run_on_ray(stage)
    return run_here(stage)


def load_engine(run: Run, compute: Compute) -> PairMaker:
    """What a worker makes pairs with; a size of batches that is to be found is found once for the run."""
    size = partial(batch_of_run, run)
    return PairMaker(run.recipe, engine(run.recipe, compute, size))


def load_reselector(run: Run, compute: Compute) -> Reselector:
    """What a worker chooses anew with; the engine is loaded once a pair must be made again."""
    candidates = Candidates(selected_run(run))
    return Reselector(run.recipe, candidates, partial(engine, run.recipe, compute))


def load_purger(run: Run, compute: Compute) -> Purger:
    """What a worker copies units with, but for what is taken out."""
    return Purger(Candidates(selected_run(run)), read_purged(run.store))


def load_studio(run: Run, compute: EditCompute) -> EditMaker:
    """What a worker edits pictures with."""
    from factory.edits.studio import Studio

    first = partial(first_pictures, run, run.recipe.images, compute, DiffusersPipeline.NAME)
    return EditMaker(run, compute, Studio(run.recipe, compute, first))


def studio(recipe: EditRecipe, compute: EditCompute) -> Editors:
    """The editors of a recipe whose files are pinned."""
    from factory.edits.studio import Studio

    return Studio(recipe, compute)


def engine(
    recipe: Recipe, compute: Compute, size: Callable[[Rated], int] | None = None
) -> MeasuredSource:
    """The engine of a recipe, of the very files that a run was begun with. Raises `ModelError`.

    `size` says how large batches are, where that is to be found; None takes the fastest here.
    """
    from factory.pairs.prompt_to_prompt import PromptToPrompt

    placed = placed_models(pin(recipe))
    if size is None:
        return PromptToPrompt.for_compute(placed, compute)
    return PromptToPrompt.for_compute(placed, compute, size)


@contextmanager
def steps_of_other_sizes(
    source: MeasuredSource, draws: Sequence[Draw]
) -> Iterator[Callable[[int], float]]:
    """How long an engine's steps take in batches of other sizes, which are in pairs."""
    from factory.engine import rates
    from factory.pairs.prompt_to_prompt import ROWS, PromptToPrompt, request_of

    assert isinstance(source, PromptToPrompt)
    requests = [request_of(draw, source.recipe) for draw in draws]
    with rates.steps_of_other_sizes(source.engine, requests) as seconds:
        yield lambda pairs: seconds(ROWS * pairs)


def device(name: str) -> Device:
    """What `compute.device` means here."""
    from factory.engine.device import find_device

    return find_device(name)


def check_machine(compute: Pool) -> None:
    """Refuse a device that is not here, or Ray where it cannot be started, before anything is begun."""
    if compute.where == "ray":
        from factory.on_ray.own_ray import check_start

        check_start()
    # Torch is asked only where it must be.
    on_cpu = compute.device == "cpu" and (compute.where == "here" or not compute.gpus_per_worker)
    if compute.device != "auto" and not on_cpu:
        from factory.engine.device import check_device

        check_device(compute)
