"""Begin an export, or open it to go on: its source pinned, its shards cut, once."""

from dataclasses import dataclass

from pydantic import ValidationError

from factory.errors import InputError, RunMismatch
from factory.export.export import LAID_OUT
from factory.export.facts import Making
from factory.export.shards import TripletPairs, cut
from factory.export.source import SealedRun
from factory.ledger import keys
from factory.ledger.plan import Plan, find_plan
from factory.ledger.run import Run, is_begun, open_run
from factory.storage.key_rules import USERS
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from factory.work.job import begin
from schemas.export import EXPORT, Export, ExportRecipe, Shard

OURS = (*LAID_OUT, "data", "train", "validation", "test")
"""What an export may lay at the top of its place, but for the numbered folders and shards."""


@dataclass(frozen=True)
class Begun:
    """An export that can be gone on with."""

    recipe: ExportRecipe
    plan: Plan


def run_uri(to: str) -> str:
    """Where the records of an export lie whose files go to `to`."""
    return f"{to.rstrip('/')}/{keys.BESIDE}"


def find_begun(to: str) -> Begun | None:
    """The export at `to`; None where there is none whose shards are cut. Raises `RunMismatch`."""
    store = open_store(run_uri(to))
    if not is_begun(store):
        return None
    run = open_run(store)
    if run.layout.stage != EXPORT.stage:
        raise RunMismatch(
            f"{to}: must be free or hold an export, got a run of `{run.layout.stage}`"
        )
    plan = find_plan(run)
    try:
        return Begun(ExportRecipe.known(run.recipe), plan) if plan else None
    except ValidationError as error:
        rule = error.errors()[0]["msg"]
        raise RunMismatch(f"{to}: was begun by another release: {rule}") from None


def check_free(source: str, to: str) -> None:
    """Raise `InputError` where files of an export would lie among others."""
    # Whatever their names: nobody's files are to lie among these.
    place = open_store(to, USERS)
    run, here = f"{open_store(source).uri}/", f"{place.uri}/"
    if here.startswith(run) or run.startswith(here):
        raise InputError(f"--to {to}: must not lie in the run or around it, got {source}")
    first = next((one for one in place.list() if not one.key.startswith(f"{keys.BESIDE}/")), None)
    if first is not None:
        raise InputError(f"--to {to}: must be empty or hold an export of ours, got {first.key!r}")


def prepare(
    config: Export, source: str, to: str, *, retry_failed: bool = False
) -> tuple[Run, Plan]:
    """Open or begin the export of a run to a place, all checks first. As `begin`.

    An export goes on with the manifest that it was begun with, whatever was sealed since.
    """
    begun, store = find_begun(to), open_store(run_uri(to))
    if begun is not None:
        same = goes_on(config.recipe, begun.recipe, source, to)
        return begin(EXPORT, store, lambda: same, None, 1, retry_failed=retry_failed)
    check_free(source, to)
    return begin_in(store, config, SealedRun.open(source))


def begin_in(
    store: ObjectStore, config: Export, sealed: SealedRun, *, retry_failed: bool = False
) -> tuple[Run, Plan]:
    """As `prepare`, into a store, of an opened run."""
    recipe, shards = planned(config.recipe, sealed)
    return begin(EXPORT, store, lambda: recipe, shards, 1, retry_failed=retry_failed)


def planned(recipe: ExportRecipe, sealed: SealedRun) -> tuple[ExportRecipe, list[Shard]]:
    """The recipe with its source and how that was made, and the shards. Every commit is read once."""
    making, groups = Making(), list[TripletPairs]()
    for line, commit in sealed.commits():
        making.add(commit)
        groups += sealed.groups(line, commit)
    found = {"source": sealed.source, "made": making.as_json(sealed)}
    recipe = recipe.model_copy(update=found)
    return recipe, cut(recipe, groups)


def goes_on(asked: ExportRecipe, begun: ExportRecipe, source: str, to: str) -> ExportRecipe:
    """The recipe of an export that was begun, where what is asked for is the same.

    Raises `RunMismatch`, naming what differs.
    """
    theirs = begun.model_dump(exclude={"source", "made"})
    differing = [
        f"{name}: {theirs[name]!r} -> {value!r}"
        for name, value in asked.model_dump(exclude={"source", "made"}).items()
        if theirs[name] != value
    ]
    if differing:
        raise RunMismatch(
            f"{to}: holds an export that was asked for otherwise; differing: {'; '.join(differing)}"
        )
    run = open_run(source)
    assert begun.source is not None
    if run.recipe_hash != begun.source.recipe_hash:
        raise RunMismatch(f"{to}: holds an export of another run, of {begun.source.uri}")
    # The run may have been moved since.
    moved = begun.source.model_copy(update={"uri": run.uri})
    return begun.model_copy(update={"source": moved})
