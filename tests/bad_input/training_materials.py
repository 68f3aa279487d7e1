"""Trainings to be refused: a configuration, a dataset, a model, and what stands in the output."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from tests.bad_input.materials import Step, models, parquet, write
from tests.bad_input.table import Case, case

FIT = "fit --json --dataset pairs --out out"
ENCODE = "encode --json --dataset pairs --out out"
CONFIG = """\
law:
  model: {source: t2i}
  size_px: 16
  steps: 2
  batch: 4
compute: {where: here, device: cpu, gpus_per_worker: 0, micro_batch: 2}
watching: {sheet_every: 0, sheet_pairs: 1, tensorboard: false}
"""
PICTURE = {"bytes": b"not a picture", "path": "x"}
ROW = {"original_image": [b"1"], "edit_prompt": ["make it red"], "edited_image": [b"2"]}


def pairs(folder: str = "pairs", prompts: int = 4, **first: Any) -> Step:
    """A dataset of one pair for each prompt; `first` are other fields of the first."""

    def step() -> None:
        from tests.trainer.small import write_pairs

        write_pairs(Path(folder), prompts, pairs=1, files=1, **first)

    return step


def configured() -> None:
    """A configuration beside a dataset, and a model that passes for one until it is loaded."""
    models()
    write("f.yaml", CONFIG)()
    pairs()()


def real() -> None:
    """The same with a tiny model that can be trained."""
    from transformers.utils.logging import disable_progress_bar

    from tests.trainer.encoded import model

    # The command does so by the environment, which counts where nobody imported the library before it.
    disable_progress_bar()
    configured()
    shutil.rmtree("t2i")
    # A link, whose files are not looked at before and after.
    Path("t2i").symlink_to(model())


def written(*settings: str) -> Step:
    """What a training by other settings writes before it starts."""

    def step() -> None:
        from trainer.fit import prepare

        prepare(_config(*settings), "pairs", "out")

    return step


def encoded(*settings: str) -> Step:
    """Latents of the dataset by other settings, below `latents`."""

    def step() -> None:
        for name, data in _latents(settings).items():
            write(f"latents/{name}", data)()

    return step


@cache
def _latents(settings: tuple[str, ...]) -> dict[str, bytes]:
    from tests.trainer.small import objects
    from trainer.fit import pin_law
    from trainer.latents.encode import encode_dataset

    config = _config(*settings)
    pinned = config.model_copy(update={"law": pin_law(config.law)})
    encode_dataset(pinned, "pairs", "scratch")
    found = objects(Path("scratch"))
    shutil.rmtree("scratch")
    return found


def state_of_another_network(step: int = 1) -> None:
    """A checkpoint whose record fits and whose tensors do not."""
    import torch

    from trainer.fit import prepare
    from trainer.root.checkpoint import Checkpoints

    config, dataset, store = prepare(_config(), "pairs", "out")
    Checkpoints(store, config.law.law_hash, dataset.digest, 2).write(step, {"w": torch.zeros(2)})


def _config(*settings: str) -> Any:
    from factory.console.config import read_config
    from schemas.training.fit import Fit
    from trainer.__main__ import PRESETS

    return read_config(Fit, PRESETS, None, Path("f.yaml"), settings)


def fitted(
    id: str, options: str, message: str, *steps: Step, dataset: str = "pairs", **fields: Any
) -> Case:
    """A start of a training, refused before a model is loaded."""
    command = f"{FIT} --config f.yaml {options}".rstrip()
    if dataset != "pairs":
        command += f" --dataset {dataset}"
    return case(id, command, message, configured, *steps, **fields)


def begun(id: str, options: str, message: str, *steps: Step, **fields: Any) -> Case:
    """A start of a training that comes to its first steps."""
    command = f"{FIT} --config f.yaml {options}".rstrip()
    return case(id, command, message, real, *steps, told=True, **fields)


def table(id: str, message: str, command: str = FIT, **columns: Any) -> Case:
    """A dataset of one file with these columns."""
    data = parquet(
        **{name: values for name, values in (ROW | columns).items() if values is not None}
    )
    steps = configured, lambda: shutil.rmtree("pairs"), write("pairs/a.parquet", data)
    return case(id, f"{command} --config f.yaml", message, *steps)


def set_to(id: str, setting: str, message: str, command: str = FIT) -> Case:
    return case(id, f"{command} --set '{setting}'", f"--set: {message}")
