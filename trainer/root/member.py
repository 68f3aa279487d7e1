"""A worker's part in what is written once: the leader writes it, the others give what they hold of it."""

from schemas.fit import Fit
from trainer.learning.group import Group
from trainer.learning.state import State
from trainer.loop import StepReport


class Member:
    """Any worker but the leading one. All members come to the same checkpoints, sheets and editor."""

    def __init__(self, config: Fit, state: State, group: Group) -> None:
        self.config = config
        self.state = state
        self.group = group

    def see(self, report: StepReport, urgent: bool) -> None:
        """After each step; `urgent` has a checkpoint written at once."""
        watching, last = self.config.watching, report.step == self.config.law.steps
        if urgent or last or report.step % watching.checkpoint_every == 0:
            self.save()
        if watching.sheet_every and (last or report.step % watching.sheet_every == 0):
            self.draw(report.step)

    def finish(self) -> None:
        """A checkpoint of where it ended; the editor if that is the end."""
        if self.group.share(self.is_unsaved()):
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
