"""A verb's options and input, looked at before it is submitted: what would end with 2 starts nothing.

The look is the verb's own, by `--check`, in a process of its own. Paths that only a cluster's machines
have, and places that earlier steps will fill, are not looked at, and said to be so.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cluster.programs import parse
from factory.console.check import LOCAL_PATHS, NOTHING_WRONG, UNSEEN
from factory.console.say import say
from factory.errors import ConfigError, InputError
from schemas.running.cluster import LOCAL, Cluster

PROGRAM: Sequence[str] = (sys.executable, "-m", "editmill")
PREFIX = "editmill: "
MOST_AT_ONCE = 4
"""Each is a process, which takes a second or two."""


@dataclass(frozen=True)
class CheckedCommand:
    """A command that is to be looked at."""

    words: Sequence[str]
    where: str
    """What messages call it."""
    unseen: Sequence[str] = ()
    """Places that cannot be looked at here."""


def preflight(looks: Sequence[CheckedCommand]) -> None:
    """Look at commands, and say what could not be looked at.

    Raises `ConfigError` for the first that would end with 2.
    """
    # Parsed one after the other: typer's parser is not made for threads.
    asked = [look for look in looks if parse(look.words, look.where).can_be_checked]
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        for look, done in zip(asked, pool.map(_ask, asked), strict=True):
            _tell(look.where, done)


def _ask(look: CheckedCommand) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, *look.words, "--check"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=os.environ | {UNSEEN: json.dumps([*look.unseen])},
    )


def _tell(where: str, done: "subprocess.CompletedProcess[str]") -> None:
    lines = done.stderr.splitlines()
    last = lines[-1].removeprefix(PREFIX) if lines else ""
    if done.returncode == InputError.exit_code:
        raise ConfigError(f"{where}: {last}")
    for line in lines[: -1 if done.returncode else None]:
        if line != NOTHING_WRONG:
            say(f"{where}: {line}")
    if done.returncode:
        say(f"{where}: could not be looked at here: {last or f'ended with {done.returncode}'}")


def unseen_from_here(cluster: Cluster | None) -> tuple[str, ...]:
    """What a client cannot look at: where a job runs on other machines, every path without a scheme."""
    return () if cluster is None or cluster.address == LOCAL else (LOCAL_PATHS,)


def is_our_program(cluster: Cluster) -> bool:
    """Whether what the cluster runs is, as far as can be told from here, what runs here.

    A `working_dir` may hold another `editmill`, whose verbs are not known here.
    """
    if cluster.working_dir is None or "://" in cluster.working_dir:
        return True
    theirs = Path(cluster.working_dir) / "editmill.py"
    return not theirs.is_file() or theirs.resolve().parent == Path(__file__).resolve().parents[1]
