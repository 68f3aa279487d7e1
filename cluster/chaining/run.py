"""Run a chain's steps in turn, by their exit codes; safe to kill and start again at any time."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from cluster.chaining.file import Chain
from cluster.chaining.log import ChainLog, wait_for
from cluster.chaining.record import ChainRecord
from factory.console.child import ending_with_parent
from factory.console.progress import duration
from factory.console.signals import INCOMPLETE, Drain
from factory.errors import InputError, NeedsRepair
from factory.storage.open import open_store
from factory.work.job import NOTHING_KEPT
from schemas.running.chain import ChainStep

PROGRAM: Sequence[str] = (sys.executable, "-m", "editmill")
POLL_S = 0.2
YOUNG_S = 2.0
"""So long after its start a step may have missed the signal by which Ray stops all that a job started."""
IN_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in a job's command."""

WHAT_NOW = {
    InputError.exit_code: "its input is wrong: mend what it says above, then run the same command",
    INCOMPLETE: "it is incomplete; run the same command to resume",
    NOTHING_KEPT: "a guard stopped it, or it kept nothing: see what it says above, raise that limit or "
    "mend its settings, then run the same command",
    NeedsRepair.exit_code: "something stored is damaged: `editmill verify --repair` on it, then run "
    "the same command",
}


@dataclass(frozen=True)
class ChainResult:
    """How a start of a chain ended."""

    exit_code: int
    message: str
    start: int


def run_chain(chain: Chain, *, again: bool = False, results: TextIO | None = None) -> ChainResult:
    """Run what is not done yet; 0 where all is done, else the exit code of the step that ended it.

    `again` runs done steps as well, which find what is there; steps' stdout goes to `results`. Raises
    `StorageError` of the root.
    """
    record = ChainRecord(open_store(chain.root))
    start = record.begin(chain.steps)
    log = ChainLog(record, start, results or sys.stdout)
    log.say(f"chain in {chain.root}: {', '.join(step.name for step in chain.steps)}")
    try:
        with Drain() as drain:
            result = _run_all(chain, record, start, log, drain, again)
        log.say(result.message if result.exit_code else f"chain in {chain.root}: {result.message}")
    finally:
        log.store(at_once=True)
    return result


def _run_all(
    chain: Chain, record: ChainRecord, start: int, log: ChainLog, drain: Drain, again: bool
) -> ChainResult:
    for number, step in enumerate(chain.steps, start=1):
        title = f"{number}/{len(chain.steps)} {step.name}"
        if not again and is_done(record, step):
            log.say(f"{title}: is done")
            continue
        if drain.asked:
            message = f"stopped before {step.name}; {WHAT_NOW[INCOMPLETE]}"
            return ChainResult(INCOMPLETE, message, start)
        log.say(f"{title}: editmill {shlex.join(step.words)}")
        begun = time.monotonic()
        code = _run(step, log, drain)
        took = time.monotonic() - begun
        if code < 0:
            log.say(f"{title}: was killed by signal {-code}")
            code = INCOMPLETE
        log.say(f"{title}: ended with {code} after {duration(took)}")
        record.end(step, code, took, start)
        if code:
            what = WHAT_NOW.get(code, "no verb should; run the same command to try again")
            return ChainResult(code, f"{chain.where(step)}: ended with {code}: {what}", start)
    return ChainResult(0, f"all {len(chain.steps)} steps are done", start)


def is_done(record: ChainRecord, step: ChainStep) -> bool:
    """Whether a step was done by these words on these results, and something is left of it."""
    if record.done(step) is None:
        return False
    if step.out is None:
        return True
    return next(iter(open_store(step.out).list()), None) is not None


def _run(step: ChainStep, log: ChainLog, drain: Drain) -> int:
    """The exit code of a step, whose output is passed on; a signal that came is handed to it once."""
    process = subprocess.Popen(
        [*PROGRAM, *step.words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # Ctrl-C is for the chain, which hands it on: twice would mean at once.
        start_new_session=True,
        # A chain that is killed must leave no step behind that works beside the next start's. A verb takes
        # the signal, which comes several times, for "at once": what it has stored is safe.
        preexec_fn=ending_with_parent(signal.SIGTERM),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    begun = time.monotonic()
    readers = log.pass_on((process.stdout, True), (process.stderr, False))
    is_told = False
    while True:
        try:
            code = process.wait(POLL_S)
            break
        except subprocess.TimeoutExpired:
            log.store()
        if drain.asked and not is_told:
            is_told = True
            # Ray tells every process of a job by itself.
            if IN_JOB not in os.environ or time.monotonic() - begun < YOUNG_S:
                process.terminate()
    wait_for(readers)
    return code
