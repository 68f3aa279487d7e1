"""Before bulk edits are paid for: models, pictures, store, device, and one edit of one's own picture."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from factory.console.amounts import counted
from factory.doctor.finding import (
    Check,
    Device,
    Finding,
    failed,
    guarded,
    ok,
    skipped,
    warning,
)
from factory.doctor.readiness import PHOTOGRAPH_PX
from factory.edits.codec import looks_like_picture
from factory.edits.edit import Editors
from factory.edits.estimate import estimate_edits, rows_of
from factory.edits.listing import Listed, open_images
from factory.edits.opening import Opened, Opener
from factory.edits.prepare import pinned, run_uri
from factory.ledger.run import is_begun
from factory.pairs.sheet import cell, grid
from factory.storage.open import open_store
from factory.storage.probe import probe
from schemas.edits import EditCompute, EditItem, EditRecipe, Edits

TRIED = 20
"""Objects of the list that are opened in search of a picture."""
LOOKED_AT = 100_000
"""Whose names are looked at for those."""


@dataclass(frozen=True)
class EditOrder:
    """What is asked of the doctor."""

    config: Edits
    listed: Callable[[], Listed]
    out: str | None
    sheet: Path
    """Where the edit is shown."""
    gpus: int | None = None
    price_per_gpu_hour: float | None = None


def examine_edits(
    order: EditOrder,
    find_device: Callable[[str], Device],
    make_editors: Callable[[EditRecipe, EditCompute], Editors],
    tell: Callable[[str], None],
) -> Generator[Finding, None, None]:
    """Every finding, as it is made; `tell` hears what is being done that may take a while."""
    config = order.config
    listed = yield from guarded(
        "pictures", _pictures(order), "correct --images or --requests, or skip lines with --max-bad"
    )
    tell("doctor: finds and hashes the model files")
    recipe = yield from guarded(
        "model files",
        _model_files(config.recipe, listed),
        f"correct recipe.{config.recipe.editor}.model.source",
    )
    yield from guarded("store", _store(order.out), "give --out a folder or prefix that is writable")
    device = yield from guarded(
        "device", _device(config, find_device), "compute.device=auto takes what is there"
    )
    rate = None
    if recipe is None or device is None or listed is None:
        yield skipped("edit", "needs the pictures, the model files and a device")
    else:
        tell("doctor: loads the models and edits one picture, twice")
        rate = yield from guarded(
            "edit", _edit(order, recipe, listed, make_editors), "see the message"
        )
    if listed is not None:
        if recipe is not None:
            # With what pinning found out.
            config = config.model_copy(update={"recipe": recipe})
        ahead = estimate_edits(config, listed, rate, order.gpus, order.price_per_gpu_hour)
        words = ", ".join(f"{name} {value}" for name, value in ahead.facts().items() if value)
        yield ok("plan", words, **ahead.as_json())


def _pictures(order: EditOrder) -> Check[Listed]:
    listed = order.listed()
    yield ok("pictures", counted(len(listed.items), "picture"), pictures=len(listed.items))
    return listed


def _model_files(recipe: EditRecipe, listed: Listed | None) -> Check[EditRecipe]:
    found = pinned(recipe, listed)
    yield ok("model files", f"found and hashed; editor {found.editor}")
    return found


def _store(out: str | None) -> Check[None]:
    if out is None:
        yield skipped("store", "give --out")
        return
    store = open_store(run_uri(out))
    begun, probed = is_begun(store), probe(store)
    how = "one of several writers wins" if probed.commits == "conditional" else probed.reason
    there = "; a run is there, which would go on" if begun else ""
    yield ok("store", f"{out}: writes, reads and lists; {how}{there}")


def _device(config: Edits, find: Callable[[str], Device]) -> Check[Device]:
    found, recipe = find(config.compute.device), config.recipe
    yield ok("device", f"{found.kind}: {found.name}", kind=found.kind, name=found.name)
    settings = recipe.of(recipe.editor)
    assert settings is not None
    if found.kind == "cpu" and recipe.size_px >= PHOTOGRAPH_PX:
        yield warning(
            "device",
            f"edits of {recipe.size_px} px on a CPU: minutes each",
            "run on a machine with a GPU, or try --preset miniature",
        )
    if settings.dtype not in found.dtypes:
        yield warning(
            "device",
            f"{settings.dtype} is slow on this device",
            f"--set recipe.{recipe.editor}.dtype={found.dtypes[-1]}",
        )
    return found


def _tried(items: Sequence[EditItem]) -> list[EditItem]:
    """The first objects that may be pictures by their names; where none may, the first of all."""
    likely = (item for item in islice(items, LOOKED_AT) if looks_like_picture(item.image))
    return list(islice(likely, TRIED)) or list(islice(items, TRIED))


def _edit(
    order: EditOrder,
    recipe: EditRecipe,
    listed: Listed,
    make: Callable[[EditRecipe, EditCompute], Editors],
) -> Check[float | None]:
    """One edit of the first picture that opens, made twice and shown; returns rows a second."""
    opener = Opener(open_images(recipe.images), order.config.compute.most_pixels)
    found: tuple[EditItem, Opened] | None = None
    reasons: list[str] = []
    for item in _tried(listed.items):
        opened = opener.open(item.image)
        if isinstance(opened, Opened):
            found = item, opened
            break
        reasons.append(f"{item.image}: {opened.reason}")
    opener.close()
    if found is None:
        what = f"none of the first {counted(len(reasons), 'object')} is a picture; {reasons[0]}"
        yield failed("edit", what, "give --images a place of JPEG, PNG or WEBP files")
        return None
    item, before = found
    editors = make(recipe, order.config.compute)
    ((_, first),) = editors.edit([(item, before.picture)])
    started = time.monotonic()
    ((_, again),) = editors.edit([(item, before.picture)])
    seconds = time.monotonic() - started
    if first.picture is None or again.picture is None:
        yield failed("edit", str(first.reason), "another number format: recipe.*.dtype=float32")
        return None
    same = (first.picture == again.picture).all()
    told = item.instruction or item.target_caption or ""
    shown = [Image.fromarray(one) for one in (before.picture, first.picture)]
    order.sheet.write_bytes(grid([cell(shown, [item.image, f"> {told}"])], 1))
    if batching := editors.environment().batching:
        yield ok("batch", f"on drawn pictures: {batching}", batching=batching)
    rate = rows_of(recipe, item) / seconds
    words = f"{item.image} in {seconds:.1f} s, alone in its batch; shown in {order.sheet}"
    if same:
        yield ok("edit", words, seconds=seconds, rows_per_s=rate)
    else:
        yield warning("edit", f"{words}; not the same twice", "report the device", seconds=seconds)
    return rate
