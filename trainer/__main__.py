"""The trainer's commands."""

from factory.console.signals import answer_signals

if __name__ == "__main__":
    # Before what follows, which takes a second: Ctrl-C is answered in words from here on.
    answer_signals()

from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.console.check import CheckOnly
from factory.console.command import resumable
from factory.console.config import FIT_PRESETS as PRESETS
from factory.console.config import Choice
from factory.console.options import FITS, AsJson, ConfigFile, preset_option
from factory.console.progress import Progress
from factory.console.say import Opening, print_facts, print_json, say
from factory.console.signals import INTERRUPTED, Drain
from factory.errors import ConfigError, EditmillError
from factory.models.find import Role, still_to_fetch
from factory.storage.open import open_store
from factory.storage.places import check_folder, check_store
from factory.verbs.machine import check_machine, runner
from factory.work.job import NOTHING_KEPT
from factory.work.reports import Runner
from factory.work.stage import Stage
from schemas.recipe import ModelSource
from schemas.training.fit import Fit
from trainer.evaluation.compare import compare_app
from trainer.evaluation.verb import evaluate_app
from trainer.headline import encode_headline, fit_headline
from trainer.train_language import language_app

Preset = Annotated[
    Optional[str],
    preset_option(
        f"{FITS}; may be left out for a run that the miniature made, and where the training is there.",
        PRESETS,
    ),
]
Settings = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set", help="key=value, e.g. law.steps=100; repeatable; `config show --of fit` lists all."
    ),
]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train instruction editors, and the miniature's models.",
)


@app.command("train-miniature")
@resumable
def train_miniature(
    out: Annotated[Path, typer.Option(help="Where the finished folders are written.")],
    work: Annotated[
        Path, typer.Option(help="Resumable state, saved every 50 to 100 steps.")
    ] = Path("miniature-work"),
    stage: Annotated[
        Optional[list[str]],
        typer.Option(
            help="autoencoder, diffusion, clip, card or language; repeatable; default all, in order."
        ),
    ] = None,
    steps: Annotated[
        Optional[list[str]],
        typer.Option(help="stage=steps, e.g. diffusion=20000; repeatable."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Root of every draw.")] = 0,
) -> int:
    """Train the miniature from nothing, or go on where the state in --work stands."""
    check_folder("--out", out)
    check_folder("--work", work)
    import torch

    from trainer.miniature.train import STAGES, STEPS, train_miniature

    stages = tuple(stage or STAGES)
    for name in stages:
        if name not in STAGES:
            raise ConfigError(f"--stage: must be one of {', '.join(STAGES)}, got {name!r}")
    goals: dict[str, int] = {}
    for text in steps or []:
        name, _, number = text.partition("=")
        if name not in STEPS or not number.isdecimal() or int(number) < 1:
            raise ConfigError(f"--steps: must be stage=steps, got {text!r}")
        goals[name] = int(number)
    torch.set_num_threads(threads)
    train_miniature(work, out, stages=stages, steps=goals, seed=seed, report=say)
    return 0


def _choose(
    preset: str | None, config: Path | None, settings: list[str] | None, dataset: str, out: str
) -> Choice[Fit]:
    from trainer.preset_choice import choose

    return choose(preset, config, settings or [], dataset, out)


def _tell_of_fetching(given: Fit, opening: Opening) -> None:
    law = given.law
    models: list[tuple[str, ModelSource, Role]] = [("model", law.model, "text_to_image")]
    if law.autoencoder:
        models.append(("autoencoder", law.autoencoder, "autoencoder"))
    for line in still_to_fetch(models):
        opening(line)


@app.command()
@resumable
def encode(
    dataset: Annotated[str, typer.Option(help="A sealed run, a folder of Parquet, or one file.")],
    out: Annotated[
        str,
        typer.Option(help="Folder or s3:// prefix; DATASET/latents is where `fit` looks unasked."),
    ],
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Make units again of which not one row could be encoded.")
    ] = False,
    as_json: AsJson = False,
    check: CheckOnly = False,
) -> int:
    """Encode a dataset's latents and instructions once; run it again to resume. `fit` uses them."""
    chosen = partial(_choose, preset, config, settings, dataset, out)
    if check:
        from trainer.checks import check_encode

        return check_encode(dataset, chosen, out, is_chosen=bool(preset or config))
    choice = chosen()
    given, opening = choice.config, Opening(encode_headline(choice))
    check_machine(given.compute)
    check_store("--out", open_store(out))
    from factory.dataset.truncation import truncated_of
    from trainer.fit import pin_law
    from trainer.latents.encode import encode_dataset

    _tell_of_fetching(given, opening)

    def run_with(stage: Stage) -> Runner:
        opening.begin()
        return runner(stage, given.compute)

    pinned = given.model_copy(update={"law": pin_law(given.law)})
    latents = encode_dataset(pinned, dataset, out, run_with, say, retry_failed=retry_failed)
    opening.begin()
    for number, unit in enumerate(latents.units):
        for row, why in enumerate(latents.reasons(number) if unit.unreadable else ()):
            if why:
                say(f"unreadable: {unit.slice.file}: row {unit.slice.first + row}: {why}")
    facts = {
        "latents": out,
        "rows": latents.rows,
        "unreadable": latents.unreadable,
        "truncated": truncated_of(open_store(out), latents.law.dataset),
        "units": len(latents.units),
        "bytes": sum(unit.line.data_bytes or 0 for unit in latents.units),
    }
    (print_json if as_json else print_facts)(facts)
    return NOTHING_KEPT if latents.unreadable == latents.rows else 0


@app.command("fit")
@resumable
def fit_editor(
    dataset: Annotated[str, typer.Option(help="A sealed run, a folder of Parquet, or one file.")],
    out: Annotated[str, typer.Option(help="The training: a folder or s3://bucket/prefix.")],
    latents: Annotated[
        Optional[str],
        typer.Option(help="What `encode` made of it; unasked, those in DATASET/latents."),
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
    check: CheckOnly = False,
) -> int:
    """Train an instruction editor on a dataset of pairs. Run it again to resume."""
    chosen = partial(_choose, preset, config, settings, dataset, out)
    if check:
        from trainer.checks import check_fit

        return check_fit(dataset, latents, chosen, out, is_chosen=bool(preset or config))
    choice = chosen()
    given, opening = choice.config, Opening(fit_headline(choice))
    if latents is not None:
        reading = given.reading.model_copy(update={"latents": latents})
        given = given.model_copy(update={"reading": reading})
    check_machine(given.compute)
    from factory.dataset.truncation import truncated_of
    from trainer.fit import fit, prepare

    _tell_of_fetching(given, opening)
    prepared = prepare(given, dataset, out, opening)
    opening.begin()
    with Progress("steps", given.law.steps):
        if given.compute.where == "ray":
            from trainer.on_ray.fit import fit_on_ray

            fitted = fit_on_ray(*prepared)
        else:
            with Drain() as drain:
                fitted = fit(*prepared, say=say, should_stop=lambda: drain.asked)
    _, opened, store = prepared
    code = 0 if fitted.done else EditmillError.exit_code
    facts = {
        "step": f"{fitted.step} of {given.law.steps}",
        "editor": fitted.editor if fitted.done else None,
        "unreadable": fitted.bad_rows,
        "truncated": truncated_of(store, opened.digest),
    }
    if as_json:
        print_json(facts | {"exit_code": code, "step": fitted.step, "steps": given.law.steps})
    else:
        print_facts(facts)
    if code:
        say(INTERRUPTED)
    return code


app.add_typer(evaluate_app)
app.add_typer(compare_app)
app.add_typer(language_app)


if __name__ == "__main__":
    app()
