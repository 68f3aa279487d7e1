"""What `--check` of a training's commands looks at; nothing is made, fetched or written."""

from collections.abc import Callable
from pathlib import Path

from factory.console.check import NOTHING_WRONG, Check
from factory.console.config import Choice
from factory.console.say import say
from factory.dataset.files import find_files
from factory.edits.prepare import run_uri
from factory.errors import ConfigError, RunMismatch
from factory.ledger.run import differing_fields, open_run
from factory.models.find import Role
from factory.storage.open import open_store
from factory.storage.places import check_folder
from factory.verbs.checks import (
    check_compute,
    check_models,
    check_place,
    check_run,
    without_models,
)
from schemas.evaluation import EVALUATE, Evaluation
from schemas.ledger.layout import Layout
from schemas.recipe import ModelSource
from schemas.training.fit import Fit, Law
from schemas.training.latents import ENCODE
from trainer.root.training import find_training


def check_encode(dataset: str, choose: Callable[[], Choice[Fit]], out: str, is_chosen: bool) -> int:
    """As `encode` before its first write."""
    return _check_dataset(
        dataset, choose, is_chosen, lambda check, _: _check_root(check, out, ENCODE)
    )


def check_fit(
    dataset: str,
    latents: str | None,
    choose: Callable[[], Choice[Fit]],
    out: str,
    is_chosen: bool,
) -> int:
    """As `fit` before its first write."""

    def look(check: Check, law: Law) -> None:
        if latents is not None:
            check.look("--latents", latents, lambda: open_run(latents))
        check.look("--out", out, lambda: _check_training(out, law))

    return _check_dataset(dataset, choose, is_chosen, look)


def _check_dataset(
    dataset: str,
    choose: Callable[[], Choice[Fit]],
    is_chosen: bool,
    look_at_rest: Callable[[Check, Law], None],
) -> int:
    check = Check()
    if not is_chosen and not check.sees(dataset):
        say("--preset: is chosen where and when it runs, by the dataset")
        return 0
    config = choose().config
    pattern = config.reading.files
    check.look("--dataset", dataset, lambda: find_files(dataset, pattern))
    check_compute(check, config.compute)
    law = config.law
    models: list[tuple[str, ModelSource, Role]] = [("law.model", law.model, "text_to_image")]
    if law.autoencoder:
        models.append(("law.autoencoder", law.autoencoder, "autoencoder"))
    if config.compute.max_workers > law.batch:
        raise ConfigError(
            f"compute.max_workers: must be at most law.batch, got {config.compute.max_workers} and "
            f"{law.batch}"
        )
    check_models(check, models)
    look_at_rest(check, law)
    say(NOTHING_WRONG)
    return 0


def _check_root(check: Check, out: str, layout: Layout) -> None:
    """Of a run whose recipe only a start can know."""
    check.look("--out", out, lambda: check_run(out, layout, None, False, None))


def _check_training(out: str, law: Law) -> None:
    """Raise `RunMismatch` where a root holds a training by another law; models are not compared."""
    store = open_store(out)
    check_place(store)
    found = find_training(store)
    if found is None:
        return
    theirs = without_models(Law.read(found.law).identity())
    differing = differing_fields(theirs, without_models(law.identity()))
    if differing:
        raise RunMismatch(
            f"{store.uri}: holds a training by another law; differing: {'; '.join(differing)}"
        )


def check_evaluate(
    given: Evaluation, models: list[tuple[str, ModelSource, Role]], dataset: str | None, out: str
) -> int:
    """As `evaluate` before its first write."""
    check = Check()
    check_compute(check, given.compute)
    if dataset is not None:
        check.look("--dataset", dataset, lambda: find_files(dataset))
    check_models(check, models)
    if "://" not in out and check.sees(out):
        check_folder("--out", Path(out))
    check.look("--out", out, lambda: check_run(run_uri(out), EVALUATE, None, False, None))
    say(NOTHING_WRONG)
    return 0
