"""The commands `jobs`, `logs` and `stop`: what runs on a cluster, by the API that `submit` speaks."""

import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Optional

import typer

from cluster.access import access_to, get_json
from cluster.description import read_cluster
from cluster.options import OpenCluster
from factory.console.command import command
from factory.console.options import AsJson
from factory.console.progress import duration
from factory.console.say import print_json, print_table, say
from factory.errors import ConfigError, InputError
from schemas.running.cluster import LOCAL, hide_secrets

jobs_app = typer.Typer(no_args_is_help=True)

PROGRAM = "-m editmill "

File = Annotated[str, typer.Argument(metavar="FILE", help="The cluster file.")]
SomeJob = Annotated[
    Optional[str], typer.Argument(metavar="JOB", help="Its name; unasked the newest.")
]


@jobs_app.command()
@command
def jobs(file: File, open_cluster: OpenCluster = False, as_json: AsJson = False) -> int:
    """The jobs that were submitted to a cluster, newest first."""
    found = [_facts(job) for job in _jobs(*_reach(file, open_cluster))]
    if as_json:
        print_json({"jobs": found})
        return 0
    rows = [
        (job["job"], job["status"], job["exit_code"], job["begun"], job["took"], job["command"])
        for job in found
    ]
    print_table(("job", "status", "exit code", "begun", "took", "command"), rows)
    return 0


@jobs_app.command()
@command
def logs(
    file: File,
    job: SomeJob = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="To its end; ends with its exit code.")
    ] = False,
    open_cluster: OpenCluster = False,
) -> int:
    """The log of a job; Ctrl-C ends this and not the job."""
    address, token = _reach(file, open_cluster)
    name = _chosen(_jobs(address, token), job)
    if not follow:
        answer = get_json(f"{address}/api/jobs/{name}/logs", token)
        sys.stdout.write(answer.get("logs") or "")
        return 0
    import asyncio

    from cluster.job import Job
    from cluster.job import follow as to_its_end
    from cluster.submit import exit_code_of

    found = Job(address, name, token)
    return exit_code_of(found, asyncio.run(to_its_end(found)), stopped=False)


@jobs_app.command()
@command
def stop(
    file: File,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its name; `jobs` lists them.")],
    open_cluster: OpenCluster = False,
) -> int:
    """Stop a job: it gets a minute to end in order, and the same submission resumes it."""
    address, token = _reach(file, open_cluster)
    name = _chosen(_jobs(address, token), job)
    from cluster.job import ENDED, Job
    from cluster.submit import DRAIN_S

    found = Job(address, name, token)
    found.stop()
    until = time.monotonic() + 2 * DRAIN_S
    while (status := found.state()["status"]) not in ENDED and time.monotonic() < until:
        time.sleep(1)
    say(f"job {name}: {status.lower()}")
    return 0 if status in ENDED else 3


def _reach(file: str, open_cluster: bool) -> tuple[str, str | None]:
    """Address and token. Raises `ConfigError`, `AccessRefused`, `ClusterUnavailable`."""
    cluster = read_cluster(file)
    if cluster.address == LOCAL:
        raise ConfigError(
            f"{file}: must name a cluster that is there, got `{LOCAL}`, which lives as long as its job"
        )
    return cluster.address, access_to(cluster.address, open_cluster)


def _jobs(address: str, token: str | None) -> list[dict[str, Any]]:
    """Those that were submitted, newest first: drivers that joined by themselves have no log here."""
    answer = get_json(f"{address}/api/jobs/", token)
    found = [job for job in answer if isinstance(job, dict) and job.get("submission_id")]
    return sorted(found, key=lambda job: -(job.get("start_time") or 0))


def _chosen(jobs: list[dict[str, Any]], name: str | None) -> str:
    names = [str(job["submission_id"]) for job in jobs]
    if not names:
        raise InputError("JOB: must be one of this cluster, got none: nothing was submitted to it")
    if name is None:
        return names[0]
    if name not in names:
        raise InputError(f"JOB: must be one of this cluster, got {name!r}; newest: {names[0]}")
    return name


def _facts(job: dict[str, Any]) -> dict[str, Any]:
    """Of a job what a person wants, its command without the interpreter before it."""
    begun, ended = job.get("start_time") or 0, job.get("end_time") or 0
    seconds = ((ended or 1000 * time.time()) - begun) / 1000 if begun else 0
    words = str(job.get("entrypoint") or "")
    at = datetime.fromtimestamp(begun / 1000, UTC).isoformat(timespec="seconds") if begun else "-"
    code = job.get("driver_exit_code")
    return {
        "job": str(job["submission_id"]),
        "status": str(job.get("status")),
        "exit_code": "-" if code is None else code,
        "begun": at,
        "took": duration(seconds),
        "command": hide_secrets(words.partition(PROGRAM)[2] or words)[:200],
    }
