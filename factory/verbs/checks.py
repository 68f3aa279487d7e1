"""What `--check` looks at: what a start would refuse, without making, fetching or writing anything."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from factory.captions.listing import Wanted, read_captions
from factory.captions.prepare import with_examples
from factory.console.check import NOTHING_WRONG, Check
from factory.console.config import MINIATURE, Choice
from factory.console.say import say
from factory.edits.listing import Listed, keys_below, open_images, why_not
from factory.edits.prepare import listed_before, pinned, run_uri
from factory.errors import InputError, ModelError, RunMismatch
from factory.export.prepare import check_free, find_begun, goes_on
from factory.export.source import SealedRun
from factory.ledger.plan import Item, find_plan, new_items
from factory.ledger.run import differing_fields, is_begun, must_be_of_this_release, open_run
from factory.models.find import Role, model_folder, model_sources, whereabouts
from factory.models.pin import pin
from factory.pairs.triplets import read_triplets
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.places import check_folder
from factory.storage.protocol import ObjectStore
from factory.verbs import machine
from factory.verbs.asked_edits import AskedEdits, models_of
from factory.verbs.asked_edits import headline as edits_headline
from factory.verbs.captions import headline as captions_headline
from factory.verbs.captions import tell_of_captions
from factory.verbs.headline import headline
from factory.verbs.plan import tell_of
from schemas.captions import CAPTIONS, Captions
from schemas.config import Config
from schemas.editors import EDITORS
from schemas.edits import EDIT, EditRecipe, Edits
from schemas.export import Export
from schemas.ledger.layout import GENERATE, Layout
from schemas.recipe import ModelSource
from schemas.record import Record
from schemas.running.pool import Pool

OF_MODELS = ("source", "revision", "files", "name")
"""Of a model's source: with the hashes of its files one recipe is the same wherever they lie."""


def check_generate(
    triplets: str,
    max_bad: int,
    choose: Callable[[], Choice[Config]],
    out: str,
    extend: bool,
) -> int:
    """As `generate` before its first write."""
    check = Check()

    def read() -> Any:
        return read_triplets(triplets, max_bad)

    wanted = read() if triplets == MINIATURE else check.look("--triplets", triplets, read)
    choice = choose()
    recipe = choice.config.recipe
    say(headline(choice))
    if wanted:
        tell_of(wanted)
    check_compute(check, choice.config.compute)
    is_here = check_models(check, model_sources(recipe))
    ours = pin(recipe) if is_here else recipe
    items = wanted.triplets if wanted else None
    check.look("--out", out, lambda: check_run(out, GENERATE, ours, is_here, items, extend=extend))
    say(NOTHING_WRONG)
    return 0


def check_edit(
    asked: AskedEdits,
    max_bad: int,
    choose: Callable[[], Choice[Edits]],
    out: str,
    extend: bool,
) -> int:
    """As `edit` before its first write; of a bucket of pictures it is looked whether there is one."""
    check = Check()
    asked.check(out, look=check.sees(asked.place))
    choice = choose()
    recipe = choice.config.recipe
    say(edits_headline(choice))
    check_compute(check, choice.config.compute)
    why = why_not(recipe, recipe.editor, asked.wish.fields) if asked.requests is None else ""
    if why:
        raise InputError(f"--editor {recipe.editor}: {why}")

    def listed() -> Listed:
        return asked.listed(recipe, max_bad)

    def one() -> None:
        if next(iter(keys_below(open_images(asked.place))), None) is None:
            raise InputError(f"{asked.place}: must hold at least one object, got none")

    found: Listed | None = None
    if asked.requests is not None:
        found = check.look("--requests", asked.requests, listed)
    else:
        check.look("--images", asked.place, one)
    is_here = check_models(check, models_of(choice.config))
    ours = pinned(recipe, found) if is_here else _asked_for(recipe, found)
    check.look("--out", out, lambda: _check_edits(out, asked, ours, is_here, found, extend))
    say(NOTHING_WRONG)
    return 0


def check_export(source: str, to: str, config: Export, line: str) -> int:
    """As `export` before its first write."""
    check = Check()
    say(line)
    check_compute(check, config.compute)
    sealed = check.look("RUN", source, lambda: SealedRun.open(source))

    def place() -> None:
        begun = find_begun(to)
        if begun is None:
            check_free(source, to)
        elif sealed is not None:
            goes_on(config.recipe, begun.recipe, source, to)

    check.look("--to", to, place)
    say(NOTHING_WRONG)
    return 0


def _check_edits(
    out: str,
    asked: AskedEdits,
    recipe: EditRecipe,
    is_pinned: bool,
    found: Listed | None,
    extend: bool,
) -> None:
    if asked.requests is None:
        listed_before(out, asked.wish, recipe)
    items = found.items if found else None
    # Which editors a list asks for decides what the recipe holds of them.
    known = recipe if found or asked.requests is None else None
    check_run(run_uri(out), EDIT, known, is_pinned, items, extend=extend)


def _asked_for(recipe: EditRecipe, found: Listed | None) -> EditRecipe:
    """A recipe with the editors that are asked for, and no other, as `pinned` has it."""
    asked = {item.editor for item in found.items} if found else set()
    asked.add(recipe.editor)
    return recipe.model_copy(update={name: None for name in EDITORS if name not in asked})


def check_captions(
    captions: str,
    wanted: Wanted,
    max_bad: int,
    choose: Callable[[], Choice[Captions]],
    out: str,
    extend: bool,
) -> int:
    """As `captions` before its first write; no server is asked."""
    check = Check()
    listed = check.look("--captions", captions, lambda: read_captions(captions, wanted, max_bad))
    choice = choose()
    say(captions_headline(choice))
    if listed:
        tell_of_captions(listed)
    compute, recipe = choice.config.compute, with_examples(choice.config.recipe)
    check_compute(check, compute)
    for name in dict.fromkeys((compute.server.key_variable, compute.of_judge.key_variable)):
        # A server of one's own asks for none, so that it is no error before one does.
        if check.runs_here and not os.environ.get(name):
            say(f"{name}: is not set here; its server is sent no key")
    items = listed.items if listed else None
    check.look("--out", out, lambda: check_run(out, CAPTIONS, recipe, True, items, extend=extend))
    say(NOTHING_WRONG)
    return 0


def check_compute(check: Check, compute: Pool) -> None:
    """Raise `ConfigError` for a device that is not here, of what is to run here."""
    if check.runs_here:
        machine.check_machine(compute)


def check_models(check: Check, models: Sequence[tuple[str, ModelSource, Role]]) -> bool:
    """Whether all can be hashed without fetching any. Raises `ModelError` for one that is nowhere."""
    is_here = True
    for key, source, role in models:
        match whereabouts(source):
            case "bundled":
                continue
            case "bucket":
                check.look(key, source.source, lambda source=source: _must_hold(source))  # type: ignore[misc]
            case "hub":
                say(f"{key} {source.source}: is fetched where it runs")
            case _ if check.sees(source.source):
                model_folder(source, role)
                continue
            case _:
                say(f"{key} {source.source}: is looked at where and when it runs")
        is_here = False
    return is_here


def _must_hold(source: ModelSource) -> None:
    if next(iter(open_store(source.source).list()), None) is None:
        raise ModelError(f"{source.source}: must hold a model, got no object there")


def check_run(
    uri: str,
    layout: Layout,
    recipe: Record | None,
    is_pinned: bool,
    items: Sequence[Item] | None,
    *,
    extend: bool = False,
) -> None:
    """Raise `RunMismatch` where a run cannot be begun or gone on with at a root, `ConfigError` of a folder.

    A recipe whose models are not pinned is compared without them; None is not compared.
    """
    store = open_store(uri)
    check_place(store)
    if not is_begun(store):
        return
    run = open_run(store)
    must_be_of_this_release(run, layout)
    if recipe is not None:
        stored = run.recipe if isinstance(run.recipe, dict) else run.recipe.model_dump(mode="json")
        theirs, ours = type(recipe).read(stored).identity(), recipe.identity()
        if not is_pinned:
            theirs, ours = without_models(theirs), without_models(ours)
        differing = differing_fields(theirs, ours)
        if differing:
            raise RunMismatch(
                f"{store.uri}: holds a run with another recipe; differing: {'; '.join(differing)}"
            )
    plan = find_plan(run)
    if plan is not None and items is not None:
        new_items(run, plan, items, extend=extend)


def check_place(store: ObjectStore) -> None:
    """Raise `ConfigError` for a folder that takes no files; of a bucket only a start tries that."""
    if isinstance(store, LocalStore):
        check_folder("--out", store.folder)


def without_models(plain: Any) -> Any:
    """A recipe as plain JSON, without what names its models."""
    if isinstance(plain, dict):
        return {k: without_models(v) for k, v in plain.items() if k not in OF_MODELS}
    return [without_models(v) for v in plain] if isinstance(plain, list) else plain
