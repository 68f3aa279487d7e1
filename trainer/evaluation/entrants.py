"""What an evaluation is of, as a person chooses it: one editor, a curve, some of its entrants."""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.console.config import (
    EVALUATION_PRESETS,
    MINIATURE,
    Choice,
    choose_config,
    load_config,
    preset_names,
)
from factory.errors import ConfigError, first_line
from schemas.editors import Ip2p
from schemas.edits import EditCompute, EditRecipe, Output
from schemas.evaluation import Entrant, Evaluation, EvaluationRecipe, HeldOut
from schemas.recipe import ModelSource
from schemas.training.fit import Fit


def of_these(recipe: EvaluationRecipe, names: str) -> EvaluationRecipe:
    """A recipe with some of its entrants, by names such as `a,b`, in that order. Raises `ConfigError`."""
    known = [entrant.name for entrant in recipe.entrants]
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known or wanted.count(name) > 1:
            raise ConfigError(f"--editors: must be of {', '.join(known)}, each once, got {names!r}")
    entrants = tuple(recipe.of(name) for name in wanted)
    return recipe.model_copy(update={"entrants": entrants})


def with_editor(recipe: EvaluationRecipe, source: str) -> EvaluationRecipe:
    """A recipe with another model in its first entrant that is shown pictures, and in all that have that
    one's. Raises `ConfigError`.
    """
    shown = [one for one in recipe.entrants if getattr(one.settings, "CHANNELS", 4) == 8]
    if not shown:
        raise ConfigError(
            "--editor: needs an entrant that is shown pictures, such as ip2p, got none"
        )
    entrants = []
    for entrant in recipe.entrants:
        settings, name = entrant.settings, entrant.edits.editor
        if entrant in shown and settings.model == shown[0].settings.model:
            changed = settings.model_copy(update={"model": ModelSource(source=source)})
            edits = entrant.edits.model_copy(update={name: changed})
            entrant = entrant.model_copy(update={"edits": edits})
        entrants.append(entrant)
    return recipe.model_copy(update={"entrants": tuple(entrants)})


def of_one(fit: Fit, editor: str, edits: int) -> Evaluation:
    """One editor of the miniature's world at one setting. Raises `ConfigError`."""
    from factory.miniature.world import SIDE_PX
    from trainer.miniature.tasks import MOST

    if edits > MOST:
        raise ConfigError(f"--edits: must be at most {MOST} of the miniature, got {edits}")
    at_once, miniature = min(AT_ONCE, edits), load_config(MINIATURE).recipe
    try:
        settings = Ip2p(
            model=ModelSource(source=editor),
            dtype="float32",
            solver="euler_ancestral",
            **fit.watching.sampler.model_dump(),
        )
    except ValueError as error:
        raise ConfigError(f"watching.sampler: {first_line(error)}") from None
    recipe = EvaluationRecipe(
        entrants=(
            Entrant(
                name="ip2p",
                edits=EditRecipe(
                    editor="ip2p", ip2p=settings, size_px=SIDE_PX, output=Output(size="model")
                ),
            ),
        ),
        held_out=HeldOut(count=edits),
        clip=miniature.clip,
        gates=miniature.thresholds,
        unit_edits=AT_ONCE,
    )
    compute = EditCompute(
        where="here",
        device=fit.compute.device,
        gpus_per_worker=0,
        threads=fit.compute.threads,
        batch_images=at_once,
        decode_images=at_once,
    )
    return Evaluation(recipe=recipe, compute=compute)


AT_ONCE = 16
"""Edits of a unit, and of a batch, of one editor."""


def chosen_sweep(
    sweep: str,
    settings: Sequence[str],
    editor: str | None,
    edits: int | None,
    asked: Mapping[str, Any],
) -> Choice[Evaluation]:
    """The configuration of a curve. Raises `ConfigError`."""
    presets = preset_names(EVALUATION_PRESETS)
    is_preset = sweep in presets
    if not is_preset and Path(sweep).suffix == "":
        near = difflib.get_close_matches(sweep, presets, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"--sweep: must be {', '.join(presets)} or a YAML file, got {sweep!r}{hint}"
        )
    options: dict[str, str] = {}

    def set_(option: str, key: str, value: Any) -> None:
        options[f"{option} {key}"] = f"recipe.{key}={json.dumps(value)}"

    if asked["--dataset"] and asked["--requests"]:
        raise ConfigError("--dataset and --requests: give one, got both")
    if asked["--images"] and not asked["--requests"]:
        raise ConfigError("--images: needs --requests, got none")
    for kind in ("dataset", "requests"):
        if asked[f"--{kind}"]:
            set_(f"--{kind}", "held_out.kind", kind)
            set_(f"--{kind}", "held_out.source", asked[f"--{kind}"])
    if asked["--images"]:
        set_("--images", "held_out.images", asked["--images"])
    if edits is not None:
        set_("--edits", "held_out.count", edits)
    if asked["--attempts"] is not None:
        set_("--attempts", "attempts", asked["--attempts"])
    choice = choose_config(
        Evaluation,
        EVALUATION_PRESETS,
        sweep if is_preset else None,
        None if is_preset else Path(sweep),
        settings,
        options=options,
    )
    recipe = choice.config.recipe
    held_out = recipe.held_out
    if held_out.kind != "miniature" and not held_out.source:
        raise ConfigError(
            f"--dataset or --requests: must be given with --sweep {sweep}, got neither"
        )
    if asked["--editors"] is not None:
        recipe = of_these(recipe, asked["--editors"])
    if editor is not None:
        recipe = with_editor(recipe, editor)
    return Choice(
        choice.config.model_copy(update={"recipe": recipe}), choice.origin, choice.settings
    )


def differing_sizes(recipe: EvaluationRecipe) -> list[str]:
    """A line where entrants are not scored at one size: their measures do not compare."""
    sizes = {
        one.name: f"{one.edits.size_px} px ({one.edits.output.size})" for one in recipe.entrants
    }
    if len(set(sizes.values())) == 1:
        return []
    told = ", ".join(f"{name} at {size}" for name, size in sizes.items())
    return [
        f"scored at several sizes, which do not compare: {told}; recipe.edits.size_px, output.size"
    ]
