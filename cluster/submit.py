"""Send a verb to a Ray cluster as a job, show its log, end with its exit code."""

import asyncio
import secrets
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from cluster.access import access_to
from cluster.interruption import Interruption
from cluster.job import Job, JobLost, follow
from cluster.local import local_cluster
from factory.console.say import say
from factory.console.signals import INCOMPLETE
from factory.errors import ConfigError
from schemas.running.cluster import LOCAL, OPEN_CLUSTER, SECRET_VALUE, Cluster

DRAIN_S = 60
"""How long a stopped job may take to end in order; Ray gives it 3 s by default."""


def submit(cluster: Cluster, verb: Sequence[str], open_cluster: bool = False) -> int:
    """The job's exit code; 3 when it was stopped, killed, or lost with its cluster.

    SIGINT and SIGTERM stop the job, which then drains; a second one does not wait for that.
    Raises `ConfigError` and `AccessRefused` before anything starts, `JobLost` after.
    """
    check_words(verb)
    with Interruption() as interruption:
        try:
            with ExitStack() as stack:
                address, python, token = cluster.address, "python", None
                if address == LOCAL:
                    say("starting a Ray cluster on this machine")
                    started = stack.enter_context(local_cluster())
                    address, python, token = started.address, sys.executable, started.token
                    say(f"it runs at {address} until the job ends (process {started.pid})")
                else:
                    token = access_to(address, open_cluster)
                job = Job(address, cluster.submission_id or _new_id(verb), token)
                interruption.stop = job.stop
                command = shlex.join([python, "-m", "editmill", *verb])
                _send(job, cluster, command, open_cluster)
                say(f"{address}: job {job.id} submitted; Ctrl-C stops it")
                return exit_code_of(job, asyncio.run(follow(job)), interruption.asked)
        except KeyboardInterrupt:
            say("interrupted; a job that was submitted is told to stop and may still be draining")
            return INCOMPLETE


def check_words(verb: Sequence[str]) -> None:
    """Raise `ConfigError` for what is no verb of another program, and for a secret."""
    if verb[0].startswith("-") or verb[0] == "submit":
        raise ConfigError(f"--: must be followed by a verb of a program, got {verb[0]!r}")
    for word in verb:
        if SECRET_VALUE.search(word):
            raise ConfigError(
                f"{verb[0]}: its options must hold no secret, got one by its look; Ray shows a "
                "job's command to everyone with access. Set it on the nodes"
            )


def _new_id(verb: Sequence[str]) -> str:
    """Names that sort by time; ours rather than Ray's, so that it is known before the answer."""
    return f"editmill-{verb[0]}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def _send(job: Job, cluster: Cluster, command: str, open_cluster: bool) -> None:
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(DRAIN_S)}
    if open_cluster:
        # The job joins the cluster and would ask the same question.
        variables[OPEN_CLUSTER] = "1"
    environment: dict[str, Any] = {"env_vars": variables | cluster.env_vars}
    if cluster.working_dir is not None:
        environment["working_dir"] = cluster.working_dir
    # `exec`, so that the exit code is the program's and not the shell's.
    job.send(f"exec {command}", environment, cluster.entrypoint_num_cpus)


def exit_code_of(job: Job, state: dict[str, Any], stopped: bool) -> int:
    """What a job's last state comes to; `stopped` is whether it was asked to stop. Raises `JobLost`."""
    status, code = state["status"], state.get("driver_exit_code")
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED" or (stopped and (code is None or code < 0)):
        say(f"job {job.id}: stopped; run the same command to resume")
        return INCOMPLETE
    if code is None:
        raise JobLost(f"job {job.id}: ended without an exit code: {str(state['message'])[:2000]}")
    if code < 0:
        raise JobLost(f"job {job.id}: its driver was killed by signal {-code}; run it again")
    return int(code)
