"""The class of a `diffusers` editor and what its call can be told, found out before any weight is read."""

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from factory.errors import ConfigError
from factory.models.find import model_folder
from factory.models.pipeline import class_named, pin_pipeline
from schemas.editors import DiffusersPipeline
from schemas.edits import KNOBS

OPTIONS: dict[str, tuple[str, ...]] = {
    "steps": ("num_inference_steps",),
    "text_guidance": ("guidance_scale", "true_cfg_scale", "text_guidance_scale"),
    "image_guidance": ("image_guidance_scale", "img_guidance_scale"),
    "strength": ("strength",),
}
"""A setting's names in calls: the first whose default is a number is meant, else the first there is."""
OURS = (
    *("image", "prompt", "generator", "height", "width", "latents"),
    *("num_images_per_prompt", "output_type", "return_dict"),
)
"""Arguments that this program gives itself."""
FIELD = "recipe.diffusers"


@dataclass(frozen=True)
class Call:
    """A pipeline's class and its call's arguments by name, each with its default."""

    kind: type[Any]
    modular: bool
    arguments: Mapping[str, Any]

    def option(self, setting: str) -> str | None:
        """The argument that a setting is; None where the call has none."""
        there = [name for name in OPTIONS[setting] if name in self.arguments]
        return next((name for name in there if _is_number(self.arguments[name])), (*there, None)[0])


def package_of(pipeline: str | None) -> str | None:
    """The package of a third party's class, `module:Class`; None for one of diffusers' own."""
    return pipeline.partition(":")[0].partition(".")[0] if pipeline and ":" in pipeline else None


def pinned_pipeline(settings: DiffusersPipeline) -> DiffusersPipeline:
    """Settings with the files' hashes, the class, and what they leave to it filled in.

    No weights are loaded, but diffusers and torch are imported once the files are all right. Raises
    `ModelError` for the folder, `ConfigError` for a class that is none or edits nothing, and for settings
    that its call does not know.
    """
    model = pin_pipeline(settings.model, package_of(settings.pipeline))
    folder = model_folder(model, "pipeline")
    name = settings.pipeline or class_named(folder)
    where = f"{FIELD}.pipeline" if settings.pipeline else f"{settings.model.source}"
    call = call_of(name, folder, where)
    _check_arguments(settings, call)
    if settings.prompt is None and ":" not in name and not _takes_instructions(name):
        raise ConfigError(
            f"{FIELD}.prompt: must be said for {name}: target_caption where it makes a picture by its "
            "caption, as image-to-image does, instruction where it is told what to change"
        )
    prompt = settings.prompt or "instruction"
    found: dict[str, Any] = {"model": model, "pipeline": name, "prompt": prompt}
    for setting in OPTIONS:
        option, given = call.option(setting), getattr(settings, setting)
        if option is None:
            if given is not None:
                raise ConfigError(
                    f"{FIELD}.{setting}: must be null where {call.kind.__name__}'s call has no "
                    f"{' or '.join(OPTIONS[setting])}, got {given}"
                )
        # Modular blocks list a strength that only some ways through them use.
        elif given is None and not (call.modular and setting == "strength"):
            usual = call.arguments[option]
            found |= {setting: usual} if _is_number(usual) else {}
    return settings.model_copy(update=found)


def settings_unknown(settings: DiffusersPipeline) -> list[str]:
    """Of what a request may set, what the call of a pinned pipeline has not. Imports diffusers."""
    assert settings.pipeline is not None, "pinned"
    call = call_of(settings.pipeline, model_folder(settings.model, "pipeline"))
    return [name for name in KNOBS if call.option(name) is None]


INSTRUCTED = ("InstructPix2Pix", "Kontext", "ImageEdit", "Flux2", "OmniGen")
"""Parts of the names of diffusers' classes that are told what to change. All others that take a picture
make one by its caption (image-to-image, depth, upscaling), or by a picture of something else (ControlNet).
"""


def _takes_instructions(name: str) -> bool:
    return any(part in name for part in INSTRUCTED)


def call_of(pipeline: str, folder: Path, where: str = f"{FIELD}.pipeline") -> Call:
    """The call of a class, by its name in diffusers or as `module:Class`; `where` names it in messages.

    Raises `ConfigError` where there is no such class, and where it does not edit pictures by words.
    """
    import diffusers
    from diffusers.utils.logging import set_verbosity_error

    set_verbosity_error()
    kind = _imported(pipeline, where) if ":" in pipeline else getattr(diffusers, pipeline, None)
    bases = (diffusers.DiffusionPipeline, diffusers.ModularPipeline)
    if not (isinstance(kind, type) and issubclass(kind, bases)):
        near = difflib.get_close_matches(pipeline, dir(diffusers), 1)
        hint = f"; did you mean {near[0]}?" if near and near[0] != pipeline else ""
        version = diffusers.__version__
        raise ConfigError(
            f"{where}: must be a pipeline's class in diffusers {version}, or module:Class, got "
            f"{pipeline!r}{hint}"
        )
    modular = issubclass(kind, diffusers.ModularPipeline)
    arguments = _block_inputs(kind, folder, where) if modular else _parameters(kind)
    lacking = [name for name in ("image", "prompt") if name not in arguments]
    if lacking:
        raise ConfigError(
            f"{where}: must be an editing pipeline, whose call takes image and prompt, got "
            f"{kind.__name__} without {' and '.join(lacking)}"
        )
    return Call(kind, modular, arguments)


def _imported(pipeline: str, where: str) -> Any:
    module, _, name = pipeline.partition(":")
    try:
        return getattr(import_module(module), name, None)
    except Exception as error:  # whatever a stranger's module raises while it is imported
        raise ConfigError(
            f"{where}: must be module:Class that can be imported here and by every worker, got "
            f"{pipeline!r} ({type(error).__name__})"
        ) from error


def _parameters(kind: type[Any]) -> dict[str, Any]:
    """Of a call, by name; those without a default have None."""
    found = list(inspect.signature(kind.__call__).parameters.values())[1:]
    empty = inspect.Parameter.empty
    return {
        one.name: None if one.default is empty else one.default
        for one in found
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    }


def _block_inputs(kind: type[Any], folder: Path, where: str) -> dict[str, Any]:
    """Of a modular pipeline's blocks; nothing is loaded."""
    try:
        pipeline = kind(pretrained_model_name_or_path=str(folder), local_files_only=True)
    except Exception as error:  # of as many kinds as there are blocks
        raise ConfigError(
            f"{where}: must be a modular pipeline that goes with its folder, got {kind.__name__} "
            f"({type(error).__name__})"
        ) from error
    return {one.name: one.default for one in pipeline.blocks.inputs if one.name}


def _check_arguments(settings: DiffusersPipeline, call: Call) -> None:
    options = {option: setting for setting in OPTIONS if (option := call.option(setting))}
    for name in settings.arguments:
        if name in OURS:
            raise ConfigError(f"{FIELD}.arguments: must not name what is set for it, got {name!r}")
        if name in options:
            raise ConfigError(
                f"{FIELD}.arguments: must not name {name!r}, which {FIELD}.{options[name]} is"
            )
        if name not in call.arguments:
            near = difflib.get_close_matches(name, call.arguments, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"{FIELD}.arguments: must be arguments of {call.kind.__name__}'s call, got {name!r}{hint}"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
