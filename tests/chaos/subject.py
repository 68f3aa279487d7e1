"""What is made while everything is killed: a stage of the product, its items, its command and its maker.

`stub`          `generate` over small pictures without any model: a thousand units a minute
`miniature`     `generate` with the engine on the miniature
`encode`        `encode` as it is, with a tiny model of random weights
`encode-stub`   the same with networks that are a few sums: for hundreds of runs
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from factory.ledger.keys import data_folder
from factory.ledger.plan import Item, Plan, Row
from factory.ledger.run import Run
from factory.ledger.verify.unit import Check, no_check
from factory.storage.protocol import ObjectStore
from factory.verbs.runs import CHECKS
from factory.work import plain_loop
from factory.work.job import JobResult
from factory.work.reports import Runner
from factory.work.stage import Maker, Stage, Terms
from schemas.layout import Layout
from schemas.record import Record

Name = tuple[str, int]
"""An outcome: the id of its item, and its number there."""
Hear = Callable[[str, int], None]
"""Is told the name of each outcome while it is made."""
RunWith = Callable[[Stage], Runner]

CLASSES = {
    "stub": ("tests.chaos.generating", "Generate"),
    "miniature": ("tests.chaos.generating", "GenerateMiniature"),
    "encode": ("tests.chaos.encoding", "Encode"),
    "encode-stub": ("tests.chaos.encoding", "EncodeStub"),
}
"""By the name on the command line; imported when they are asked for, since `encode` needs torch."""


class Work(BaseModel):
    """What one run makes; it travels to drivers and workers."""

    model_config = ConfigDict(frozen=True)
    subject: str = "stub"
    units: int = 3
    """One item each."""
    outcomes: int = 5
    """Of an item, at most."""
    number: int = 0
    """Runs of another one may make other things."""
    gated: bool = True
    """Whether a stage that rejects outcomes rejects most of them; else hardly any."""
    workers: int = 1
    folder: str = ""
    """Where what the run reads lies; empty is a folder of this process's own."""


STAGES = {"generate": Work(), "encode": Work(subject="encode-stub", outcomes=2)}
"""Each of the product's stages at so little work that it is made hundreds of times."""


class Subject(ABC):
    """A stage at one work."""

    layout: ClassVar[Layout]

    def __init__(self, work: Work) -> None:
        self.work = work

    @property
    def folder_of_data(self) -> str:
        """Where its runs keep what units leave."""
        return data_folder(self.layout.stage)

    @property
    def check(self) -> Check:
        """As `editmill verify` has it."""
        return CHECKS.get(self.layout.stage, no_check)

    @property
    @abstractmethod
    def stage(self) -> Stage:
        """As the product has it."""

    @property
    @abstractmethod
    def recipe(self) -> Record:
        """What RUN.json holds."""

    @abstractmethod
    def terms(self, limit: int | None = None) -> Terms:
        """Where it runs and when it stops."""

    @abstractmethod
    def items(self, count: int | None = None) -> Sequence[Item]:
        """The first so many of the plan, by default all of the work's."""

    def lay_out(self) -> None:  # noqa: B027 (most read nothing)
        """Put what the run reads into the work's folder."""

    @abstractmethod
    def start(
        self,
        store: ObjectStore,
        run_with: RunWith,
        count: int | None = None,
        *,
        retry_failed: bool = False,
        limit: int | None = None,
        once_planned: Callable[[Run, Plan], None] = lambda run, plan: None,
    ) -> JobResult:
        """The product's command: plan (a longer list extends), make what is open, seal."""

    @abstractmethod
    def ids(self, items: Sequence[Row]) -> list[str]:
        """Names of a plan's rows."""

    @abstractmethod
    def names(self, items: Sequence[Row], rows: Sequence[dict[str, Any]]) -> list[Name]:
        """Names of a unit's outcomes as they were committed."""

    @abstractmethod
    def kept(self, items: Sequence[Row], data: bytes) -> list[Name]:
        """The outcomes that a reader meets in what a unit left, each as often as it does.

        Raises `ValueError` or `OSError` where that is not whole.
        """

    @abstractmethod
    def heard(self, maker: Any, hear: Hear) -> Maker:
        """The maker; `hear` is told of each outcome in the thread that makes it."""

    def own_maker(self, number: int) -> Maker:
        """One whose data nobody else makes: another machine's, in the worst case.

        Its environment's device is `stub <number>`.
        """
        raise NotImplementedError("only a stub has another's bits")

    def here(self, hear: Hear) -> RunWith:
        """Runs in this process."""

        def run_with(stage: Stage) -> Runner:
            def load(run: Run, pool: Any) -> Maker:
                return self.heard(stage.load(run, pool), hear)

            return plain_loop.run_here(replace(stage, load=load))

        return run_with


class Own:
    """A maker whose data nobody else makes, and that knows what it made."""

    def __init__(self, subject: Subject, number: int) -> None:
        self.device = f"stub {number}"
        self.made: list[Name] = []
        self._maker = subject.heard(
            subject.own_maker(number), lambda item, index: self.made.append((item, index))
        )

    def make(self, unit, items):
        return self._maker.make(unit, items)

    def close(self):
        self._maker.close()


@cache
def subject_of(work: Work) -> Subject:
    """What a work makes."""
    return class_of(work.subject)(work)


def class_of(subject: str) -> type[Subject]:
    """One of `CLASSES`."""
    module, name = CLASSES[subject]
    found: type[Subject] = getattr(import_module(module), name)
    return found


def small(stage: str, **fields: Any) -> Subject:
    """A stage at little work, but for these fields."""
    return subject_of(STAGES[stage].model_copy(update=fields))
