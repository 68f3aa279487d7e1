"""TensorBoard and Weights & Biases: a training's figures and sheets of edits at their steps."""

import hashlib
import secrets
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from PIL import Image

from factory.console.signals import at_end, unbroken
from factory.storage.local import LocalStore
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore
from schemas.training.fit import Law

EVENTS = "tensorboard/"


class Board(Protocol):
    """Where figures and sheets go; a step may come again after a preemption."""

    def plot(self, step: int, figures: dict[str, float]) -> None:
        """Figures by name."""

    def show(self, step: int, sheet: Image.Image) -> None:
        """A sheet of edits."""

    def close(self) -> None:
        """Nothing comes after."""


class TensorBoard:
    """An event file for each start of a training, in `tensorboard/` of its root.

    Event files grow, which only a local store's can. Any other gets them whole, again and again, from
    a scratch folder.
    """

    def __init__(self, store: ObjectStore) -> None:
        from tensorboardX import SummaryWriter

        self._store = store
        self._stored: dict[str, int] = {}
        """Bytes of each file when it was last stored."""
        self._scratch: TemporaryDirectory[str] | None = None
        if isinstance(store, LocalStore):
            folder = str(store.folder / EVENTS)
        else:
            with unbroken():
                self._scratch = TemporaryDirectory(prefix="editmill-")
                at_end(self._scratch.cleanup)
            folder = self._scratch.name
        # Two starts may share the second and the host that are all of a file's name.
        self._writer = SummaryWriter(folder, filename_suffix=f".{secrets.token_hex(4)}")

    def plot(self, step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def show(self, step: int, sheet: Image.Image) -> None:
        self._writer.add_image("sheet", np.asarray(sheet), step, dataformats="HWC")

    def close(self) -> None:
        """Now the files are complete."""
        self._writer.close()

    def store_files(self) -> None:
        """Put what has grown, as far as it is written. Raises `StorageError`."""
        if self._scratch is None:
            return
        self._writer.flush()
        for path in Path(self._scratch.name).iterdir():
            data = path.read_bytes()
            if self._stored.get(path.name) != len(data):
                patiently(partial(self._store.put, EVENTS + path.name, data))
                self._stored[path.name] = len(data)

    def remove_scratch(self) -> None:
        """After `close`, and the last `store_files`."""
        if self._scratch is not None:
            self._scratch.cleanup()


class WeightsAndBiases:
    """One run there for all starts of a training."""

    def __init__(self, project: str, law: Law, uri: str) -> None:
        """`uri` is the training's root."""
        import wandb

        self._image: Any = wandb.Image
        self._run: Any = wandb.init(
            project=project,
            id=run_id(law, uri),
            resume="allow",
            config=law.model_dump(mode="json"),
        )
        # Under its own steps a later start's would be dropped up to the last one it heard of.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def plot(self, step: int, figures: dict[str, float]) -> None:
        self._run.log({**figures, "step": step})

    def show(self, step: int, sheet: Image.Image) -> None:
        self._run.log({"sheet": self._image(sheet), "step": step})

    def close(self) -> None:
        self._run.finish()


def run_id(law: Law, uri: str) -> str:
    """16 hex digits, the same for every start of a training."""
    return hashlib.sha256(f"{law.law_hash} {uri}".encode()).hexdigest()[:16]
