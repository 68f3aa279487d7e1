"""How far a chain is, from its root alone: while it runs, afterwards, and from elsewhere."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cluster.chaining.record import ChainRecord
from factory.console.progress import duration
from factory.errors import EditmillError, RunMismatch
from factory.ledger.plan import find_plan
from factory.ledger.run import open_run
from factory.ledger.status import status as run_status
from factory.storage.open import open_store
from factory.storage.stamped import find_stamped
from schemas.running.chain import ChainStart, ChainStep
from schemas.training.root import CHECKPOINTS, EDITOR, RECORD, TrainingRecord

QUIET_S = 300.0
"""A step says something every ten seconds and its log is stored every thirty; after so long it is not said
to run."""

State = Literal["done", "running", "open", "ended", "waiting"]


@dataclass(frozen=True)
class StepStatus:
    """A row of the table."""

    name: str
    verb: str
    state: State
    """`open`: begun, and nothing is heard of it; `ended`: with another exit code than 0."""
    exit_code: int | None
    progress: Mapping[str, Any]
    """Of a run `committed_units`, `units` and `counts`; of a training `step`, `steps` and whether there is
    an `editor`; empty where there is neither yet."""
    out: str | None
    seconds: float | None

    @property
    def words(self) -> str:
        """The progress for a person."""
        found = self.progress
        if "units" in found:
            counts = [f"{count} {name}" for name, count in found["counts"].items() if count]
            return ", ".join([f"{found['committed_units']} of {found['units']} units", *counts])
        if "steps" in found:
            return f"{found['step']} of {found['steps']} steps{', an editor' * found['editor']}"
        return str(found.get("unreadable", ""))


@dataclass(frozen=True)
class ChainStatus:
    """A table over the steps of a chain's newest start."""

    root: str
    start: int
    began: str
    last_word_s: float | None
    """Seconds since its log grew; null where it has none."""
    steps: tuple[StepStatus, ...]

    @property
    def is_done(self) -> bool:
        """Whether every step is."""
        return all(step.state == "done" for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self) | {"done": self.is_done}


def newest_start(root: str) -> tuple[ChainRecord, int, ChainStart]:
    """The record of a chain that was begun. Raises `RunMismatch` where there is none, `StorageError`."""
    record = ChainRecord(open_store(root))
    starts = record.starts()
    if not starts:
        raise RunMismatch(
            f"{record.store.uri}: must be the root of a chain that was begun, got none; "
            "`editmill chain FILE` begins one"
        )
    return record, starts[-1], record.start(starts[-1])


def chain_status(root: str) -> ChainStatus:
    """The state of the newest start. Raises as `newest_start`."""
    record, number, start = newest_start(root)
    heard = record.last_word(number)
    steps: list[StepStatus] = []
    is_open = False
    for step in start.steps:
        done, ended = record.done(step), record.ended(step, number)
        if done is not None:
            state: State = "done"
        elif is_open:
            state = "waiting"
        elif ended is not None:
            state = "ended"
        else:
            state = "running" if heard is not None and heard < QUIET_S else "open"
        is_open = is_open or state != "done"
        last = done or ended
        steps.append(
            StepStatus(
                name=step.name,
                verb=step.words[0],
                state=state,
                exit_code=last.exit_code if last else None,
                progress=_progress(step) if state != "waiting" else {},
                out=step.out,
                seconds=last.seconds if last else None,
            )
        )
    return ChainStatus(record.store.uri, number, start.began, heard, tuple(steps))


def facts(status: ChainStatus) -> dict[str, str]:
    """What stands above the table."""
    heard = "-" if status.last_word_s is None else f"{duration(status.last_word_s)} ago"
    return {
        "chain": status.root,
        "start": f"{status.start + 1}, begun {status.began}",
        "last word": heard,
    }


def rows(status: ChainStatus) -> list[tuple[str, str, str, str, str]]:
    """Step, verb, state, progress, time."""
    return [
        (
            step.name,
            step.verb,
            step.state if step.state != "ended" else f"ended with {step.exit_code}",
            step.words,
            "-" if step.seconds is None else duration(step.seconds),
        )
        for step in status.steps
    ]


def _progress(step: ChainStep) -> dict[str, Any]:
    """Of a run of any stage its units, of a training its steps; nothing where there is neither."""
    if step.out is None:
        return {}
    try:
        store = open_store(step.out)
        training = find_stamped(store, RECORD, TrainingRecord, "a training's record")
        if training is not None:
            names = [info.key.removeprefix(CHECKPOINTS) for info in store.list(CHECKPOINTS)]
            steps = [int(name[:-5]) for name in names if name[:-5].isdecimal()]
            return {
                "step": max(steps, default=0),
                "steps": training.law["steps"],
                "editor": next(iter(store.list(EDITOR)), None) is not None,
            }
        run = open_run(step.out)
        plan = find_plan(run)
        if plan is None:
            return {}
        found = run_status(run, plan)
        return {
            "committed_units": found.committed_units,
            "units": found.units,
            "counts": found.counts,
        }
    except RunMismatch:
        return {}
    except EditmillError as error:
        return {"unreadable": str(error)}
