"""What one worker does for all: checkpoints, lines, sheets of edits, and in the end the editor."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from diffusers import EulerAncestralDiscreteScheduler

from factory.engine.checkpoint import TextToImage
from factory.engine.editor import Editor
from factory.engine.schedule import NoiseSchedule
from factory.storage.local import LocalStore
from factory.storage.patience import patiently
from factory.storage.protocol import ObjectStore
from schemas.fit import Fit
from trainer.checkpoint import Checkpoints
from trainer.editor import write_editor
from trainer.loop import StepReport
from trainer.lora import merged, write_adapter
from trainer.miniature.editing import edit_figures, judged_edits
from trainer.pairs import Pairs
from trainer.sheet import edit_sheet
from trainer.state import State
from trainer.training import EDITOR, LORA, store_folder
from trainer.watch import Watch


class Leader:
    """Writes what is written once."""

    def __init__(
        self,
        store: ObjectStore,
        config: Fit,
        parts: TextToImage,
        state: State,
        checkpoints: Checkpoints,
        pairs: Pairs,
        sheet_rows: list[int],
        say: Callable[[str], None],
    ) -> None:
        """`sheet_rows` are those of the sheets of edits."""
        self.store = store
        self.config = config
        self.parts = parts
        self.state = state
        self.checkpoints = checkpoints
        self.pairs = pairs
        self.sheet_rows = sheet_rows
        # TensorBoard writes files as they grow, so beside a local training only.
        events = store.folder / "tensorboard" if isinstance(store, LocalStore) else None
        law = config.law
        self.watch = Watch(store, config.watching, law.steps, law.batch, say, events)

    def see(self, report: StepReport, urgent: bool) -> None:
        """After each step; `urgent` has a checkpoint written at once."""
        watching, last = self.config.watching, report.step == self.config.law.steps
        self.watch.see(report)
        if urgent or last or report.step % watching.checkpoint_every == 0:
            self._save()
            self.watch.store_lines()
        if watching.sheet_every and (last or report.step % watching.sheet_every == 0):
            self._draw(report.step)

    def finish(self) -> None:
        """A checkpoint of where it ended; the editor if that is the end."""
        self.checkpoints.finish()
        if self.state.step not in self.checkpoints.steps():
            self._save()
            self.checkpoints.finish()
        if self.state.step < self.config.law.steps:
            return
        parts, unet = self.parts, self.parts.unet
        with tempfile.TemporaryDirectory() as name, self.state.average.in_place():
            if self.config.law.lora is not None:
                write_adapter(Path(name, "lora"), unet)
                store_folder(self.store, Path(name, "lora"), LORA)
                unet = merged(unet)
            write_editor(
                Path(name, "editor"),
                unet,
                parts.autoencoder,
                parts.text,
                EulerAncestralDiscreteScheduler.from_config(parts.scheduler),
            )
            store_folder(self.store, Path(name, "editor"), EDITOR)

    def close(self) -> None:
        """However it ended: the checkpoint that is being written, and the last lines."""
        self.checkpoints.close()
        self.watch.close()

    def _save(self) -> None:
        # First the one before, so that no two copies wait in memory.
        self.checkpoints.finish()
        self.checkpoints.begin(self.state.step, self.state.tensors())

    def _draw(self, step: int) -> None:
        """Edits by the averaged weights: a sheet of the same held-out pairs always, the oracle's tasks."""
        parts, schedule = self.parts, NoiseSchedule.from_config(self.parts.scheduler)
        parts.unet.eval()
        with self.state.average.in_place():
            editor = Editor(parts.unet, parts.autoencoder, parts.text, schedule)
            side, watching = self.config.law.size_px, self.config.watching
            data = edit_sheet(editor, self.pairs, self.sheet_rows, side, watching.sampler)
            if watching.oracle_edits:
                self._judge(step, editor)
        parts.unet.train()
        if data is not None:
            patiently(lambda: self.store.put(f"sheets/{step:09d}.png", data))

    def _judge(self, step: int, editor: Editor) -> None:
        watching = self.config.watching
        tasks, _, judged = judged_edits(editor, watching.oracle_edits, watching.sampler)
        figures = edit_figures(tasks, judged)
        named = ("edit_accuracy", "kept_rest", "identity_share")
        self.watch.figure(step, **{name: figures[name] for name in named})
        self.watch.say(
            f"step {step}: of {len(tasks)} edits {figures['edit_accuracy']:.0%} done with the rest kept, "
            f"{figures['identity_share']:.0%} left as they were"
        )
