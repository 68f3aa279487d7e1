"""What is a stage's own where its runs are sealed and verified, by the stage's name."""

from factory.captions import captions
from factory.edits import edit
from factory.export import export
from factory.ledger.run import Run
from factory.pairs import verify as pairs
from factory.work.stage import Sealing
from schemas.captions import CAPTIONS
from schemas.edits import EDIT
from schemas.export import EXPORT
from schemas.ledger.layout import GENERATE

SEALINGS: dict[str, Sealing] = {
    GENERATE.stage: pairs.SEALING,
    CAPTIONS.stage: captions.SEALING,
    EDIT.stage: edit.SEALING,
    EXPORT.stage: export.SEALING,
}
"""What is a stage's own when its runs are sealed and verified; other programs add theirs."""


def sealing_of(run: Run) -> Sealing:
    """By the run's stage; of one that is not known here, what holds for any."""
    return SEALINGS.get(run.layout.stage, Sealing())
