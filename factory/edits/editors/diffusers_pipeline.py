"""Any editing pipeline of diffusers, ordinary or modular, or a third party's, called as its users call it.

Needs an instruction, or, of a class that makes a picture by its caption, the caption as it should be
(`prompt`). It goes past the engine: one call edits one picture, or `compute.pipeline_images` of one
size where `batch_check` found that it may. A call for several is always for as many, filled up with
copies, since the shape of a call decides the last bits. Where it fails (docs/editors/diffusers.png): at
sizes that the model was not trained at, and where a class has rules of its own that its call does not
name. Licence: that of the model given, many of which forbid commercial use (FLUX.1 Kontext: FLUX.1
[dev] Non-Commercial).
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import PreTrainedTokenizerBase

from factory.edits.edit import Edited, seed_of
from factory.edits.editors.batch_check import Batching, compare
from factory.edits.editors.pipeline_class import Call, call_of
from factory.edits.sizes import edit_size
from factory.engine.checkpoint.load import DTYPES
from factory.engine.device import cpu_threads, torch_device
from factory.errors import ConfigError, ModelError, first_line
from factory.models.find import model_folder
from factory.pictures import Picture
from schemas.editors import DiffusersPipeline
from schemas.edits import EditCompute, EditItem, EditRecipe

AskedPictures = Sequence[tuple[EditItem, Picture]]
_BEYOND_A_PICTURE = (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError)
"""What no other picture would escape either."""
MOST_SQUEEZED = 1.125
"""By how much an edit's aspect may differ from what was asked for; it is brought back to its picture's."""


@dataclass(frozen=True)
class _Row:
    """A picture of a call, at the size it is edited at."""

    picture: Image.Image
    words: str
    seed: int
    options: Mapping[str, float]
    """`text_guidance`, `image_guidance` and `strength`, of those that the call has."""

    @property
    def mates(self) -> tuple[Any, ...]:
        """What those of one call share."""
        return (self.picture.size, tuple(sorted(self.options.items())))


class PipelineEditor:
    """An editing pipeline on a device. Threads may share it; one calls at a time.

    The recipe's model must be pinned. `first` gives pictures to compare batches with, and is asked only
    where `compute.pipeline_images` is more than 1. Raises `ModelError` where it cannot be loaded.
    """

    def __init__(
        self,
        settings: DiffusersPipeline,
        recipe: EditRecipe,
        compute: EditCompute,
        first: Callable[[], AskedPictures] = lambda: (),
    ) -> None:
        self.settings = settings
        self.recipe = recipe
        self.threads = compute.threads
        folder = model_folder(settings.model, "pipeline")
        assert settings.pipeline is not None, "pinned"
        try:
            self.call = call_of(settings.pipeline, folder)
        except ConfigError as error:  # on this machine, where it was found before
            raise ModelError(str(error)) from None
        self.pipeline = _loaded(self.call, settings, folder, torch_device(compute.device))
        self.multiple = settings.multiple_px or sides_of(self.pipeline)
        self._lock = RLock()
        self.batching = Batching(1)
        if compute.pipeline_images > 1:
            rows = self._compared_rows(first(), compute.pipeline_images)
            self.batching = compare(self.made, rows, compute.pipeline_images)

    def edit(self, asked: AskedPictures) -> Iterator[tuple[int, Edited]]:
        """As `Editor`."""
        rows = [self._row(item, picture) for item, picture in asked]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(row.mates, []).append(place)
        size = self.batching.size
        for places in groups.values():
            for start in range(0, len(places), size):
                there = places[start : start + size]
                found = self._edits([rows[place] for place in there])
                for place, one in zip(there, found, strict=True):
                    yield place, self._edited(one, rows[place], *asked[place])

    def _edits(self, rows: Sequence[_Row]) -> list[Picture | str]:
        """Of at most a call's rows, which is filled up; one that spoils its call is made beside itself."""
        size = self.batching.size
        whole = [*rows, *[rows[-1]] * (size - len(rows))]
        try:
            return self.made(whole)[: len(rows)]
        except _BEYOND_A_PICTURE:
            raise
        except Exception as error:  # of as many kinds as there are pipelines
            if len(rows) == 1:
                return [f"pipeline must edit it, got {first_line(error)[:200]}"]
        return [one for row in rows for one in self._edits([row])]

    def made(self, rows: Sequence[_Row]) -> list[Picture | str]:
        """One call for rows of one size and guidance: a picture for each, or why there is none.

        Raises whatever the pipeline raises.
        """
        call, row = self.call, rows[0]
        given = self._arguments(row, len(rows))
        told: dict[str, list[Any]] = {
            "image": [one.picture for one in rows],
            "prompt": [one.words for one in rows],
            "generator": [torch.Generator("cpu").manual_seed(one.seed) for one in rows],
        }
        alone = len(rows) == 1
        given |= {
            name: values[0] if alone else values
            for name, values in told.items()
            if name in call.arguments
        }
        with self._lock, cpu_threads(self.threads), torch.inference_mode():
            result = self.pipeline(**given)
        return _pictures(result, len(rows), row.picture.size, self.settings.dtype)

    def _arguments(self, row: _Row, count: int) -> dict[str, Any]:
        """All but what each picture of a call has of its own."""
        call, (wide, high) = self.call, row.picture.size
        usual: dict[str, Any] = {
            # FLUX Kontext would else make pictures of a million pixels, whatever is asked for.
            **{"height": high, "width": wide, "max_area": wide * high, "_auto_resize": False},
            "output_type": "np",
        }
        given = {name: value for name, value in usual.items() if name in call.arguments}
        if call.option("text_guidance") == "true_cfg_scale" and "negative_prompt" in call.arguments:
            # Without one the scale is passed over: so says the page of Qwen-Image-Edit.
            given["negative_prompt"] = " "
        options: dict[str, float | None] = {**row.options, "steps": self.settings.steps}
        for setting, value in options.items():
            name = call.option(setting)
            if name is not None and value is not None:
                given[name] = value
        given |= self.settings.arguments
        for name, value in given.items():
            if count > 1 and isinstance(value, str) and "prompt" in name:
                given[name] = [value] * count
        if call.modular:
            given["output"] = "images"
        return given

    def _row(self, item: EditItem, picture: Picture, size: tuple[int, int] | None = None) -> _Row:
        height, width = picture.shape[:2]
        wanted = size or edit_size(width, height, self.recipe.size_px, self.multiple)
        small = Image.fromarray(picture)
        if small.size != wanted:
            small = small.resize(wanted, Image.Resampling.LANCZOS)
        asked = item.options(self.settings)
        options = {name: value for name, value in asked.items() if self.call.option(name)}
        words = getattr(item, self.settings.needs[0]) or ""
        return _Row(small, words, seed_of(self.recipe, item), options)

    def _compared_rows(self, first: AskedPictures, most: int) -> list[_Row]:
        """Pictures of one size: the first ones, and the negative of the first, told more words."""
        if not first:
            side = self.recipe.size_px
            slope = np.linspace(0, 255, side).astype(np.uint8)
            drawn = np.stack([np.broadcast_to(slope, (side, side))] * 3, -1)
            none = dict.fromkeys(EditItem.model_fields)
            name = {"key": "drawn", "image": "drawn", "editor": "diffusers"}
            first = [(EditItem(**none | name | {self.settings.needs[0]: "make it red"}), drawn)]
        row = self._row(*first[0])
        size, options = row.picture.size, row.options
        rows = [self._row(*one, size) for one in first[: most - 1]]
        words = f"{row.words}, and leave all else in the picture as it is"
        negative = ImageOps.invert(row.picture)
        rows.append(_Row(negative, words, row.seed ^ 1, options))
        return [_Row(one.picture, one.words, one.seed, options) for one in rows]

    def _edited(self, found: Picture | str, row: _Row, item: EditItem, before: Picture) -> Edited:
        wide, high = row.picture.size
        facts: dict[str, Any] = {"steps": self.settings.steps, **row.options}
        facts |= {"model_width": wide, "model_height": high, "truncated": self._cuts(row.words)}
        if isinstance(found, str):
            return Edited(None, found, facts)
        image = Image.fromarray(found)
        height, width = before.shape[:2]
        if self.recipe.output.size == "input" and image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        facts |= {"width": image.width, "height": image.height}
        return Edited(np.asarray(image), None, facts)

    def _cuts(self, words: str) -> bool:
        """Whether every tokenizer has fewer places than there are words."""
        named = (getattr(self.pipeline, f"tokenizer{n}", None) for n in ("", "_2", "_3", "_4"))
        # FLUX.2 has a processor there, which would take the words for the name of a picture and fetch it.
        within = (getattr(one, "tokenizer", one) for one in named)
        tokenizers = [one for one in within if isinstance(one, PreTrainedTokenizerBase)]
        with self._lock:
            return bool(tokenizers) and all(
                len(one(words, verbose=False).input_ids) > one.model_max_length
                for one in tokenizers
            )


def sides_of(pipeline: Any) -> int:
    """What sides must be multiples of, pixels: the autoencoder's factor, and the coarsest level of a UNet
    or the patches of a transformer, which are two latents wide where nothing else is said.
    """
    factor = int(getattr(pipeline, "vae_scale_factor", 8))
    unet, transformer = (getattr(pipeline, name, None) for name in ("unet", "transformer"))
    if unet is not None:
        return int(factor * 2 ** (len(unet.config.block_out_channels) - 1))
    patch = getattr(getattr(transformer, "config", None), "patch_size", None)
    return factor * max(2, patch if isinstance(patch, int) else 2)


def _loaded(call: Call, settings: DiffusersPipeline, folder: Path, device: torch.device) -> Any:
    """A pipeline with its weights; nothing is fetched, unpickled, or run from the folder."""
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    dtype = DTYPES[settings.dtype]
    try:
        with warnings.catch_warnings():
            # Newer releases would have `dtype` said instead, which older ones do not know.
            warnings.filterwarnings("ignore", ".*torch_dtype.*", FutureWarning)
            if call.modular:
                pipeline = _modular(call.kind, folder, dtype)
            else:
                pipeline = call.kind.from_pretrained(
                    str(folder), torch_dtype=dtype, use_safetensors=True, local_files_only=True
                )
        pipeline.set_progress_bar_config(disable=True)
        if call.modular:
            # Its own ones; `blocks` is a copy of them.
            _silence(getattr(pipeline, "_blocks", pipeline.blocks))
        return pipeline.to(device)
    except _BEYOND_A_PICTURE:
        raise
    except Exception as error:  # of as many kinds as there are pipelines
        raise ModelError(
            f"{settings.model.source}: must load as {call.kind.__name__}, got {first_line(error)[:200]}"
        ) from error


def _modular(kind: type[Any], folder: Path, dtype: torch.dtype) -> Any:
    """A modular pipeline, each part from this folder, wherever its index says that it is from."""
    pipeline = kind(pretrained_model_name_or_path=str(folder), local_files_only=True)
    parts = [name for name in pipeline.pretrained_component_names if (folder / name).is_dir()]
    heavy = [name for name in parts if any((folder / name).glob("*.safetensors"))]
    pipeline.load_components(
        names=parts,
        pretrained_model_name_or_path=str(folder),
        revision=None,
        variant=None,
        torch_dtype=dict.fromkeys(heavy, dtype),
        use_safetensors=dict.fromkeys(heavy, True),
    )
    lacking = [name for name in parts if getattr(pipeline, name, None) is None]
    if lacking:
        # The library says why in a log, and goes on.
        raise ValueError(f"{', '.join(lacking)} could not be loaded")
    return pipeline


def _silence(blocks: Any) -> None:
    """Draw no bars: the pipeline itself tells its outermost blocks only."""
    for block in blocks.sub_blocks.values():
        if hasattr(block, "set_progress_bar_config"):
            block.set_progress_bar_config(disable=True)
        _silence(block)


def _pictures(result: Any, count: int, size: tuple[int, int], dtype: str) -> list[Picture | str]:
    """What a call returned, as pictures (height, width, 3), or why one is none."""
    images = result if isinstance(result, list | np.ndarray) else getattr(result, "images", None)
    images = result[0] if images is None else images
    if len(images) != count:
        raise ValueError(f"{count} pictures were asked for, got {len(images)}")
    flags = getattr(result, "nsfw_content_detected", None) or [False] * count
    return [
        _picture(image, bool(flag), size, dtype) for image, flag in zip(images, flags, strict=True)
    ]


def _picture(image: Any, refused: bool, size: tuple[int, int], dtype: str) -> Picture | str:
    if refused:
        return "picture must pass the pipeline's own safety checker, got one that it blackened"
    found = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    if found.ndim != 3 or found.shape[2] != 3:
        raise ValueError(f"pictures must be (height, width, 3), got {found.shape}")
    if np.issubdtype(found.dtype, np.floating):
        if not np.isfinite(found).all():
            return "picture must be finite, got nan or inf"
        # As diffusers' `numpy_to_pil`.
        found = (found * 255).round().clip(0, 255).astype(np.uint8)
    if not found.any():
        return (
            "picture must not be all black, got zeros: of a safety checker, or of numbers beyond the "
            f"range of {dtype}"
        )
    height, width = found.shape[:2]
    aspect = width * size[1] / (height * size[0])
    if not 1 / MOST_SQUEEZED <= aspect <= MOST_SQUEEZED:
        return f"picture must keep the aspect of {size[0]}x{size[1]}, got {width}x{height}"
    return found
