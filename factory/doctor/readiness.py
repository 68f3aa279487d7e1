"""Checks that come before a picture is made: configuration, models, device, store, triplets."""

import time
from collections.abc import Callable

from factory.console.amounts import counted, size
from factory.doctor.finding import (
    Check,
    Device,
    MeasuredSource,
    failed,
    ok,
    skipped,
    warning,
)
from factory.errors import ModelError, RunMismatch
from factory.ledger.plan import digest, find_plan
from factory.ledger.run import differing_fields, is_begun, must_be_of_this_release, open_run
from factory.models.find import model_folder, model_sources
from factory.models.pin import pin
from factory.pairs.triplets import TripletList, read_triplets
from factory.storage.open import open_store
from factory.storage.probe import probe
from schemas.config import Compute, Config
from schemas.recipe import ModelSource, Recipe

PHOTOGRAPH_PX = 512
"""From this size on, a recipe is nothing for a CPU."""


def configuration(config: Config) -> Check[None]:
    """What will be made; a configuration that breaks a rule never gets here."""
    recipe, compute = config.recipe, config.compute
    yield ok(
        "configuration",
        f"{recipe.size_px} px, {recipe.solver}, {recipe.steps} steps, {recipe.candidates} "
        f"candidates a triplet, {recipe.dtype}, "
        + (
            "batches of the fastest size"
            if compute.batch_pairs == "auto"
            else f"batches of {compute.batch_pairs} pairs"
        ),
    )


def model_files(recipe: Recipe) -> Check[Recipe | None]:
    """Every model is there, whole, and the one that is pinned; returns the pinned recipe."""
    all_there = True
    for name, source, role in model_sources(recipe):
        try:
            model_folder(source, role)
        except ModelError as error:
            all_there = False
            yield failed("model files", f"recipe.{name}: {error}", _how_to_get(name, source))
    if not all_there:
        return None
    started = time.monotonic()
    pinned = pin(recipe)
    sizes = {}
    for name, source, role in model_sources(pinned):
        folder = model_folder(source, role)
        root = folder if folder.is_dir() else folder.parent
        sizes[name] = sum((root / file).stat().st_size for file in source.files)
    yield ok(
        "model files",
        f"{', '.join(f'{name} {size(count)}' for name, count in sizes.items())}; hashed in "
        f"{time.monotonic() - started:.0f} s; recipe {pinned.recipe_hash[:16]}",
        bytes=sizes,
        recipe_hash=pinned.recipe_hash,
    )
    return pinned


def _how_to_get(name: str, source: ModelSource) -> str:
    local = f"--set recipe.{name}.source=FOLDER for a copy on disk"
    hub = "/" in source.source and not source.source.startswith("s3://")
    if not hub or not source.revision:
        return f"correct recipe.{name}.source, or give {local}"
    return (
        "run the doctor where huggingface.co can be reached (it fetches only what is needed, into "
        f"HF_HOME, which may be copied or shared), or give {local}"
    )


def device(config: Config, find: Callable[[str], Device]) -> Check[Device]:
    """What the networks will run on, and whether it suits the recipe."""
    recipe, found = config.recipe, find(config.compute.device)
    memory = f"{size(found.free())} of {size(found.total)} free"
    yield ok(
        "device",
        f"{found.kind}: {found.name}, {memory}",
        kind=found.kind,
        name=found.name,
        free_bytes=found.free(),
        total_bytes=found.total,
    )
    if found.kind == "cpu" and recipe.size_px >= PHOTOGRAPH_PX:
        yield warning(
            "device",
            f"a recipe of {recipe.size_px} px on a CPU: hours for a single batch",
            "run on a machine with a GPU (and a torch that finds it), or try --preset miniature",
        )
    if recipe.dtype not in found.dtypes:
        yield warning(
            "device",
            f"{recipe.dtype} is slow on this device",
            f"--set recipe.dtype={found.dtypes[-1]} (another recipe, so another run)",
        )
    return found


def models_load(
    recipe: Recipe,
    compute: Compute,
    on: Device,
    make: Callable[[Recipe, Compute], MeasuredSource],
) -> Check[MeasuredSource]:
    """The weights fit their architectures and the device; returns what makes pairs."""
    started, before = time.monotonic(), on.held()
    source = make(recipe, compute)
    seconds, taken = time.monotonic() - started, max(0, on.held() - before)
    yield ok(
        "models load",
        f"in {seconds:.1f} s, {size(taken)} of memory",
        seconds=seconds,
        bytes=taken,
    )
    return source


def store(uri: str | None, recipe: Recipe | None, triplets: TripletList | None) -> Check[None]:
    """As `generate` will find it; nothing is written but the probe's few bytes.

    `recipe` is the pinned one; None compares nothing with a run that is there.
    """
    if uri is None:
        yield skipped("store", "give --out")
        return
    opened = open_store(uri)
    begun = is_begun(opened)
    probed = probe(opened)
    facts = {"seconds": probed.seconds, "begun": begun}
    works, took = f"{opened.uri}: writes, reads and lists", f"{probed.seconds:.1f} s"
    if probed.commits == "conditional":
        races = counted(probed.rounds, "race")
        yield ok("store", f"{works}; of several writers one wins ({races}, {took})", **facts)
    else:
        why = f"several writers may win, so attempts are committed side by side: {probed.reason}"
        yield ok("store", f"{works} ({took}); {why}", weak=True, **facts)
    if not begun:
        return
    if recipe is None:
        yield skipped("run there", "its recipe is compared once the model files are there")
        return
    run = open_run(opened)
    if (run.commits, probed.commits) == ("conditional", "weak"):
        yield failed(
            "run there",
            f"{opened.uri}: the run was begun where one of several writers wins, here several may",
            "go on where it was begun, or give a new --out",
        )
        return
    try:
        must_be_of_this_release(run)
    except RunMismatch as error:
        yield failed("run there", str(error), "give a new --out, or use that release")
        return
    differing = differing_fields(run.recipe.identity(), recipe.identity())
    if differing:
        yield failed(
            "run there",
            f"{opened.uri} holds a run with another recipe; differing: {'; '.join(differing)}",
            "give a new --out, or the configuration that the run was begun with",
            differing=differing,
        )
        return
    plan = find_plan(run)
    if plan and triplets and plan.record.digest != digest(triplets.triplets):
        yield failed(
            "run there",
            f"{opened.uri} was planned with another list: {plan.record.items} triplets there, "
            f"{len(triplets.triplets)} in --triplets",
            "give a new --out, or the list that the run was begun with",
        )
        return
    yield ok("run there", "begun with this recipe; `generate` resumes it")


def triplet_list(uri: str | None, max_bad: int) -> Check[TripletList | None]:
    """The list as `generate` will read it."""
    if uri is None:
        yield skipped("triplets", "give --triplets; bundled ones are used for the batch")
        return None
    read = read_triplets(uri, max_bad)
    yield ok(
        "triplets",
        f"{len(read.triplets)} of {counted(len({t.edit_kind for t in read.triplets}), 'edit kind')}, "
        f"{counted(read.duplicates, 'duplicate')}, {counted(len(read.bad), 'bad line')}",
        triplets=len(read.triplets),
    )
    return read
