"""A run: one root that holds one recipe's dataset."""

import json
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError

from factory.deeds import PROBES
from factory.errors import Damaged, ObjectMissing, RunMismatch, StorageRefused
from factory.ledger import keys
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.patience import patiently, write_once
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import read_stamped
from schemas.canonical import content_hash
from schemas.ledger.layout import GENERATE, Layout
from schemas.ledger.run import RunRecord
from schemas.ledger.stamped import to_stamped_json
from schemas.recipe import STAGE_VERSIONS, Recipe
from schemas.record import Record

Commits = Literal["conditional", "sealed"]
"""How it is decided which attempt's commit counts; see `RunRecord.commits`."""


class Run:
    """An opened run: its store, its recipe and how its stage stores it. Cheap to make, safe to pickle."""

    def __init__(
        self,
        store: ObjectStore,
        recipe: Any,
        commits: Commits = "conditional",
        recipe_hash: str | None = None,
        layout: Layout = GENERATE,
    ) -> None:
        """`recipe` is a record, or of a stage that is not known here plain JSON.

        `recipe_hash` is what the run's records name; null is the recipe's own.
        """
        self.store = store
        self.recipe = recipe
        self.commits: Commits = commits
        self.recipe_hash: str = recipe_hash or content_hash(recipe.identity())
        self.layout = layout

    @property
    def uri(self) -> str:
        """The run's root."""
        return self.store.uri

    @cached_property
    def place(self) -> ObjectStore:
        """Where a stage that names its objects leaves them: around the run's root."""
        return self.store.around(keys.BESIDE)

    def locate(self, name: str) -> tuple[ObjectStore, str]:
        """Store and key of what is named as lying below the root, or by `../` around it."""
        key = name.removeprefix(keys.AROUND)
        return (self.store if key == name else self.place), key


def create_run(
    store: ObjectStore,
    recipe: Record,
    commits: Commits = "conditional",
    layout: Layout = GENERATE,
) -> Run:
    """Open the run, or begin it; its recipe must have pinned files.

    `commits` is what the store was found able to do. How a run decides its commits is written once,
    when it is begun. Raises `RunMismatch` where the root holds something else, or a run of another stage or
    recipe, naming the fields that differ; `StorageRefused` where a run that was begun with
    conditional commits lies in a store that is weak now.
    """
    record = RunRecord(
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=content_hash(recipe.identity()),
        commits=commits,
        stage=None if layout == GENERATE else layout,
    )
    if not is_begun(store):
        write_once(store, keys.RUN, to_stamped_json(record))
    run = open_run(store)
    must_be_of_this_release(run, layout)
    stored = run.recipe if isinstance(run.recipe, dict) else run.recipe.model_dump(mode="json")
    differing = differing_fields(type(recipe).read(stored).identity(), recipe.identity())
    if differing:
        raise RunMismatch(
            f"{store.uri}: holds a run with another recipe; differing: {'; '.join(differing)}"
        )
    if (run.commits, commits) == ("conditional", "sealed"):
        raise StorageRefused(
            f"{store.uri}: the run was begun where one of several writers wins, and this store lets "
            "several win; go on in the old one, or begin a run here"
        )
    # Our recipe, whose models lie where this start found them.
    return Run(store, recipe, run.commits, layout=layout)


def must_be_of_this_release(run: Run, layout: Layout = GENERATE) -> None:
    """Raises `RunMismatch` for a run of another stage, or whose bytes another version makes: it can be
    read, not gone on with.
    """
    if run.layout.stage != layout.stage:
        raise RunMismatch(
            f"{run.uri}: must be a run of `{layout.stage}`, got one of `{run.layout.stage}`"
        )
    ours: object = layout.version
    theirs: object = run.layout.version
    name = "version"
    if isinstance(run.recipe, Recipe):
        ours, theirs, name = STAGE_VERSIONS, run.recipe.stage_versions, "stage_versions"
    if theirs != ours:
        raise RunMismatch(
            f"{run.uri}: was begun by another release: {name} must be this program's "
            f"{ours}, got {theirs}; a run is finished with the release that "
            "began it"
        )


def is_begun(store: ObjectStore) -> bool:
    """Whether the root holds a run; False for an empty one.

    Raises `RunMismatch` where it holds something else than the bytes by which a store is tried.
    """
    if patiently(lambda: store.find(keys.RUN)) is not None:
        return True
    stranger = next((o.key for o in store.list() if not o.key.startswith(PROBES)), None)
    if stranger is not None and store.find(keys.RUN) is None:
        raise RunMismatch(
            f"{store.uri}: must be empty or a run of editmill, got {stranger!r} and no RUN.json"
        )
    # What is there may also be another driver's, who began the run since the first look.
    return stranger is not None


def open_run(root: ObjectStore | str) -> Run:
    """Open a run that exists, by its store or URI.

    Raises `RunMismatch` where there is none or another release's, `Damaged` where RUN.json is.
    """
    store = open_store(root) if isinstance(root, str) else root
    try:
        record = read_stamped(store, keys.RUN, RunRecord, "a run record")
    except ObjectMissing:
        within = open_store(f"{store.uri}/{keys.BESIDE}") if isinstance(root, str) else None
        if within is not None and patiently(lambda: within.find(keys.RUN)) is not None:
            return open_run(within)
        raise RunMismatch(f"{store.uri}: no run here: RUN.json is missing") from None
    if record.stage is not None:
        return Run(store, record.recipe, record.commits, record.recipe_hash, record.stage)
    try:
        recipe = Recipe.read(record.recipe)
    except ValidationError as error:
        # Its stamp is right, so these are the bytes that were written.
        rule = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise RunMismatch(f"{store.uri}: was begun by another release: {rule}") from None
    # Which fields another release hashes it alone knows; the record bears its own stamp.
    ours = recipe.stage_versions == STAGE_VERSIONS
    if ours and recipe.recipe_hash != record.recipe_hash:
        raise Damaged(
            f"{store.uri}/{keys.RUN}: recipe does not match its hash {record.recipe_hash}"
        )
    return Run(store, recipe, record.commits, record.recipe_hash)


def must_stand(store: ObjectStore, record: str = keys.RUN) -> None:
    """Raises `StorageRefused` where a root was deleted or unmounted while work went on.

    Asked before anything is written: a folder would be made anew, and what is put there never sealed.
    """
    if patiently(lambda: store.find(record)) is None:
        raise StorageRefused(
            f"{store.uri}: {record} is gone: was the {'run' if record == keys.RUN else 'training'} "
            "deleted, or its disk unmounted? nothing more is written there"
        )


def folder_must_stand(store: ObjectStore) -> None:
    """As `must_stand`, of a folder alone: a look there is free, and of a bucket it is a request.

    Nothing is made anew in a bucket, so that there it is asked once a unit.
    """
    if isinstance(store, LocalStore):
        must_stand(store)


def differing_fields(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Every leaf that differs, as `name: old -> new`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for name in sorted({*ours, *theirs})
            for line in differing_fields(
                ours.get(name), theirs.get(name), f"{where}.{name}" if where else name
            )
        ]
    return [] if ours == theirs else [f"{where}: {_short(ours)} -> {_short(theirs)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}...{text[-1]}"
