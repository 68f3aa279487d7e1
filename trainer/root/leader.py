"""What one worker does for all: checkpoints, lines, sheets of edits, and in the end the editor."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.console.amounts import counted
from factory.dataset.dataset import Dataset
from factory.edits.editors.ip2p import Ip2pEditor
from factory.engine.autoencoder import Autoencoder
from factory.engine.checkpoint.load import TextToImage
from factory.engine.networks import Networks
from factory.engine.solvers.schedule import NoiseSchedule
from factory.ledger.run import must_stand
from schemas.training.fit import Fit
from schemas.training.root import EDITOR, LORA, RECORD
from trainer.learning.editor import write_editor
from trainer.learning.lora import merged, write_adapter
from trainer.learning.state import State
from trainer.loop import StepReport
from trainer.miniature.editing import judged_edits
from trainer.miniature.tasks import edit_figures
from trainer.root.checkpoint import Checkpoints, steps_in
from trainer.root.training import store_folder
from trainer.watching.journal import Journal
from trainer.watching.sheet import edit_sheet


@dataclass(eq=False)
class Member:
    """Any worker but the leading one. All members come to the same checkpoints, sheets and editor."""

    config: Fit
    state: State

    def see(self, report: StepReport, urgent: bool) -> None:
        """After each step; `urgent` has a checkpoint written at once."""
        watching, last = self.config.watching, report.step == self.config.law.steps
        if urgent or last or report.step % watching.checkpoint_every == 0:
            self.save()
        if watching.sheet_every and (last or report.step % watching.sheet_every == 0):
            self.draw(report.step)

    def finish(self) -> None:
        """A checkpoint of where it ended; the editor if that is the end."""
        if self.state.group.share(self.is_unsaved()):
            self.save()
        if self.state.step >= self.config.law.steps:
            self.write_editor()

    def is_unsaved(self) -> bool:
        """Whether the step that is done lacks a checkpoint; the leader knows."""
        return False

    def save(self) -> None:
        """A checkpoint."""
        if self.state.is_cut:
            self.state.give()

    def draw(self, step: int) -> None:
        """A sheet of edits by the averaged weights."""
        if self.state.is_cut:
            self.state.gather_average(None)

    def write_editor(self) -> None:
        """The finished editor, with the averaged weights."""
        if self.state.is_cut:
            self.state.gather_average(None)

    def close(self) -> None:
        """However it ended."""


@dataclass(frozen=True)
class SheetPairs:
    """The pairs of the sheets of edits."""

    dataset: Dataset
    rows: list[int]


@dataclass(eq=False)
class Leader(Member):
    """Writes what is written once."""

    checkpoints: Checkpoints
    parts: TextToImage
    held_out: SheetPairs
    say: Callable[[str], None]
    spare: Any = None
    """A copy of the network on the CPU, which takes the average where the state is cut."""

    def __post_init__(self) -> None:
        self.store = self.checkpoints.store
        self.journal = Journal(self.store, self.config.watching, self.config.law, self.say)

    def see(self, report: StepReport, urgent: bool) -> None:
        self.journal.see(report)
        super().see(report, urgent)

    def is_unsaved(self) -> bool:
        self.checkpoints.finish()
        step = self.state.step
        return step in self.checkpoints.damaged or step not in steps_in(self.store)

    def finish(self) -> None:
        super().finish()
        self.checkpoints.finish()

    def save(self) -> None:
        must_stand(self.store, RECORD)
        # First the one before, so that no two copies wait in memory.
        self.checkpoints.finish()
        self.checkpoints.begin(self.state.step, self.state.tensors())
        self.journal.store_files()

    def draw(self, step: int) -> None:
        """Always of the same held-out pairs; and the oracle's tasks."""
        parts, schedule = self.parts, NoiseSchedule.from_config(self.parts.scheduler)
        edits = self.config.watching.oracle_edits
        judges = f" and judges {counted(edits, 'edit')}" if edits else ""
        # The steps stand still meanwhile, on a CPU for minutes.
        self.journal.say(
            f"step {step}: draws {counted(len(self.held_out.rows), 'held-out pair')}{judges}"
        )
        with self._averaged() as unet:
            networks = Networks(unet.eval(), Autoencoder(parts.autoencoder), parts.text, schedule)
            editor = Ip2pEditor(networks)
            law, watching, shown = self.config.law, self.config.watching, self.held_out
            data = edit_sheet(editor, shown.dataset, shown.rows, law, watching.sampler)
            if watching.oracle_edits:
                self._judge(step, editor)
            unet.train()
        if data is not None:
            self.journal.sheet(step, data)

    def write_editor(self) -> None:
        # No editor before the checkpoint that it comes from.
        self.checkpoints.finish()
        must_stand(self.store, RECORD)
        parts = self.parts
        with tempfile.TemporaryDirectory() as name, self._averaged() as unet:
            if self.config.law.lora is not None:
                write_adapter(Path(name, "lora"), unet)
                store_folder(self.store, Path(name, "lora"), LORA)
                unet = merged(unet)
            write_editor(Path(name, "editor"), unet, parts.autoencoder, parts.text, parts.scheduler)
            store_folder(self.store, Path(name, "editor"), EDITOR)

    def close(self) -> None:
        """However it ended: the checkpoint that is being written, and the last files."""
        self.checkpoints.close()
        self.journal.close()

    def _judge(self, step: int, editor: Ip2pEditor) -> None:
        watching = self.config.watching
        tasks, _, judged = judged_edits(editor, watching.oracle_edits, watching.sampler)
        figures = edit_figures(tasks, judged)
        named = ("edit_accuracy", "kept_rest", "identity_share")
        self.journal.figure(step, **{name: figures[name] for name in named})
        self.journal.say(
            f"step {step}: of {len(tasks)} edits {figures['edit_accuracy']:.0%} done with the rest kept, "
            f"{figures['identity_share']:.0%} left as they were"
        )

    @contextmanager
    def _averaged(self) -> Iterator[Any]:
        """A whole network that holds the average, on the training's device."""
        if self.spare is None:
            with self.state.average.in_place():
                yield self.parts.unet
            return
        self.state.gather_average(self.spare)
        try:
            yield self.spare.to(self.parts.unet.device)
        finally:
            self.spare.to("cpu")
