"""A verb's options and input, looked at before it is submitted: what would end with 2 starts nothing.

The look is the verb's own, by `--check`, in a process of its own. Paths that only a cluster's machines
have, and places that earlier steps will fill, are not looked at, and said to be so.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.programs import parse
from factory.console.check import LOCAL_PATHS, NOTHING_WRONG, UNSEEN
from factory.console.say import say
from factory.errors import ConfigError, InputError
from schemas.cluster import LOCAL, Cluster

PROGRAM: Sequence[str] = (sys.executable, "-m", "editmill")
PREFIX = "editmill: "


def preflight(words: Sequence[str], where: str, unseen: Sequence[str] = ()) -> None:
    """Look at a command; `unseen` are places that cannot be looked at here.

    Raises `ConfigError` where the command would end with 2. What could not be looked at is said.
    """
    if not parse(words, where).can_be_checked:
        return
    done = subprocess.run(
        [*PROGRAM, *words, "--check"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=os.environ | {UNSEEN: json.dumps([*unseen])},
    )
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
