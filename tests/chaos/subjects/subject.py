"""What is made while everything is killed: a stage of the product, its items, its command and its maker.

`stub`          `generate` over small pictures without any model: a thousand units a minute
`miniature`     `generate` with the engine on the miniature
`encode`        `encode` as it is, with a tiny model of random weights
`encode-stub`   the same with networks that are a few sums: for hundreds of runs
`edit`          `edit` as it is, with a tiny model of random weights
`edit-stub`     the same with an editor that turns colours round
`evaluate`      `evaluate` as it is, with a tiny editor of random weights, the miniature's CLIP and oracle
`evaluate-stub` the same with such an editor, and scores that are a few sums
`captions`      `captions` as it is, against a server over HTTP that misbehaves
`captions-stub` the same with a server that is a function
`export`        `export` as it is, of a small sealed run of the stub
`export-stub`   the same with the run in memory
"""

import atexit
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from factory.ledger.keys import BESIDE, data_folder
from factory.ledger.plan import Item, Plan, Row
from factory.ledger.run import Run
from factory.ledger.verify.unit import Check
from factory.storage.protocol import ObjectStore
from factory.work import plain_loop
from factory.work.job import JobResult
from factory.work.reports import Runner
from factory.work.stage import Maker, Stage, Terms
from schemas.ledger.commit import UnitLine
from schemas.ledger.layout import Layout
from schemas.record import Record

Name = tuple[str, int]
"""An outcome: the id of its item, and its number there."""
Hear = Callable[[str, int], None]
"""Is told the name of each outcome while it is made."""
RunWith = Callable[[Stage], Runner]

CLASSES = {
    "stub": ("tests.chaos.subjects.generating", "Generate"),
    "miniature": ("tests.chaos.subjects.generating", "GenerateMiniature"),
    "encode": ("tests.chaos.subjects.encoding", "Encode"),
    "encode-stub": ("tests.chaos.subjects.encoding", "EncodeStub"),
    "edit": ("tests.chaos.subjects.editing", "Edit"),
    "edit-stub": ("tests.chaos.subjects.editing", "EditStub"),
    "evaluate": ("tests.chaos.subjects.evaluating", "Evaluate"),
    "evaluate-stub": ("tests.chaos.subjects.evaluating", "EvaluateStub"),
    "captions": ("tests.chaos.subjects.captioning", "CaptionsSubject"),
    "captions-stub": ("tests.chaos.subjects.captioning", "CaptionsStub"),
    "export": ("tests.chaos.subjects.exporting", "ExportShards"),
    "export-stub": ("tests.chaos.subjects.exporting", "ExportStub"),
}
"""By the name on the command line; imported when they are asked for, since `encode` needs torch."""


class Work(BaseModel):
    """What one run makes; it travels to drivers and workers."""

    model_config = ConfigDict(frozen=True)
    subject: str = "stub"
    units: int = 3
    outcomes: int = 5
    """Of a unit, at most."""
    number: int = 0
    """Runs of another one may make other things."""
    gated: bool = True
    """Whether a stage that rejects outcomes rejects most of them; else hardly any."""
    workers: int = 1
    folder: str = ""
    """Where what the run reads lies; empty is a folder of this process's own."""


STAGES = {
    "generate": Work(),
    "encode": Work(subject="encode-stub", outcomes=2),
    "edit": Work(subject="edit-stub", outcomes=2),
    "evaluate": Work(subject="evaluate-stub", outcomes=2),
    "captions": Work(subject="captions-stub", outcomes=2),
    "export": Work(subject="export-stub", outcomes=1),
}
"""Each of the product's stages at so little work that it is made hundreds of times."""


class Subject(ABC):
    """A stage at one work."""

    layout: ClassVar[Layout]

    def __init__(self, work: Work) -> None:
        self.work = work

    @property
    def folder(self) -> Path:
        """Where what its runs are made of lies."""
        return Path(self.work.folder) if self.work.folder else own_folder()

    @property
    def folder_of_data(self) -> str:
        """Where its runs keep what units leave."""
        return data_folder(self.layout.stage)

    @property
    def folder_of_kept(self) -> str:
        """Where what readers open lies."""
        return self.folder_of_data

    @property
    def unit_items(self) -> int:
        """Items of a unit."""
        return 1

    @property
    def check(self) -> Check:
        """As `editmill verify` has it."""
        return self.stage.sealing.check

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
        """Those of the first so many units, by default of all of the work's."""

    def lay_out(self) -> None:  # noqa: B027 (most read nothing)
        """Put what the run reads into the work's folder."""

    @property
    def anothers(self) -> Mapping[str, bytes]:
        """What lies around a run before it is begun, and must for good."""
        return {}

    def surround(self, store: ObjectStore) -> None:
        """Put what is another's around a run that is to be begun."""
        for key, data in self.anothers.items():
            store.around(BESIDE).put(key, data)

    def litter(self, store: ObjectStore) -> None:
        """Leave what an attempt that was lost might have left."""
        store.put(f"{self.folder_of_data}00000001-0123456789abcdef.parquet", b"lost")

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

    def kept(self, run: Run, plan: Plan, line: UnitLine) -> Sequence[Name]:
        """The outcomes that a reader meets in what a unit left, each as often as it does.

        Raises `ObjectMissing`, `ValueError` or `OSError` where that is not whole.
        """
        data = run.store.get(line.data_key) if line.data_key else None
        return [] if data is None else self.kept_in(plan.items(line.unit), data)

    def kept_in(self, items: Sequence[Row], data: bytes) -> Sequence[Name]:
        """As `kept`, of a stage whose units leave one object each."""
        raise NotImplementedError

    def named(self, run: Run) -> Mapping[str, str]:
        """The objects around a run that what is made of all its outcomes names, each with its hash."""
        return {}

    @abstractmethod
    def heard(self, maker: Any, hear: Hear) -> Maker:
        """The maker; `hear` is told of each outcome in the thread that makes it."""

    def noted(self, maker: Any, note: Callable[..., None]) -> None:  # noqa: B027 (most have no more)
        """Have a maker in another process write down more than its outcomes."""

    @property
    def answers(self) -> int:
        """What a stage that pays for replies was given so far."""
        return 0

    def own_maker(self, number: int, run: Run) -> Maker:
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
        self._subject, self._number = subject, number
        self._maker: Maker

    def load(self, run: Run, pool: Any = None) -> "Own":
        """This one, at work on a run."""
        maker = self._subject.own_maker(self._number, run)
        self._maker = self._subject.heard(
            maker, lambda item, index: self.made.append((item, index))
        )
        return self

    def make(self, unit, items):
        return self._maker.make(unit, items)

    def close(self):
        self._maker.close()


@cache
def own_folder() -> Path:
    """A folder that lasts as long as this process."""
    folder = Path(mkdtemp(prefix="editmill-test-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    return folder


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
