"""One job on a cluster, from its submission to its last line."""

import asyncio
import logging
import sys
import time
from functools import cached_property
from typing import Any

from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from cluster.access import (
    AccessRefused,
    ClusterUnavailable,
    JobUnknown,
    bearer,
    get_json,
)
from factory.console.say import say
from factory.errors import ConfigError, EditmillError

POLL_S = 5.0
"""Between two questions for the job's state while its log flows."""
LOST_AFTER_S = 180.0
"""How long a cluster may be silent before the job counts as lost."""
LAST_LINES_S = 15.0
"""How long the log may go on after the job's end."""
AGENT_S = 60.0
"""How long a head that was just started may have no agent yet that takes jobs."""
NO_AGENT = "No available agent"
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class JobLost(EditmillError):
    """The job or its cluster is gone; what was committed stays, and a rerun resumes."""


class Job:
    """A job by its submission id."""

    def __init__(self, address: str, submission_id: str, token: str | None) -> None:
        self.address = address
        self.id = submission_id
        self._token = token
        self._shown = 0

    @cached_property
    def _client(self) -> Any:
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
        # The header is given, so Ray needs no RAY_AUTH_MODE, which it reads when it is imported.
        return JobSubmissionClient(self.address, headers=bearer(self._token))

    def send(
        self, entrypoint: str, environment: dict[str, Any], entrypoint_num_cpus: float | None
    ) -> None:
        """Submit it.

        Raises `AccessRefused`, `ConfigError` for a used id, else `ClusterUnavailable`.
        """
        deadline = time.monotonic() + AGENT_S
        while True:
            try:
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=self.id,
                    runtime_env=environment,
                    entrypoint_num_cpus=entrypoint_num_cpus,
                )
                return
            except AuthenticationError:
                # Its own text explains settings that play no part here.
                raise AccessRefused(
                    f"{self.address}: the cluster does not accept this token; it must be the one that "
                    "its head was started with"
                ) from None
            except (RuntimeError, OSError, ValueError) as error:
                if NO_AGENT not in str(error) or time.monotonic() >= deadline:
                    raise self._refusal(error) from None
            time.sleep(1)

    def _refusal(self, error: Exception) -> EditmillError:
        """Why a job was not accepted."""
        if "already exists" in str(error) and self.id in str(error):
            return ConfigError(
                f"submission_id: must be new on this cluster, got {self.id!r} again; leave it "
                f"out to have one made, or see `ray job logs {self.id}`"
            )
        lines = [line for line in str(error).splitlines() if len(line) > 1]
        return ClusterUnavailable(
            f"{self.address}: the job was not accepted: {lines[-1] if lines else error}"
        )

    def stop(self) -> None:
        """Ask Ray to stop it, again while the job is still on its way; Ray sends SIGTERM first."""
        until = time.monotonic() + LOST_AFTER_S
        while time.monotonic() < until:
            try:
                if self._client.stop_job(self.id) or self.state()["status"] in ENDED:
                    return
            except (RuntimeError, OSError, EditmillError):
                pass
            time.sleep(1)
        say(f"job {self.id}: could not be stopped; try `ray job stop {self.id}`")

    def state(self) -> dict[str, Any]:
        """What the cluster says about it: `status`, `message`, `driver_exit_code`."""
        answer: dict[str, Any] = get_json(f"{self.address}/api/jobs/{self.id}", self._token)
        return answer

    async def show_log(self) -> None:
        """Print the log to its end, or until the connection breaks; called again, what is new."""
        read = 0
        try:
            async for text in self._client.tail_job_logs(self.id):
                new = text[max(self._shown - read, 0) :]
                read += len(text)
                self._shown = max(self._shown, read)
                sys.stdout.write(new)
                sys.stdout.flush()
        except Exception as error:
            # aiohttp's many; whether it matters, the job's state decides.
            logging.getLogger(__name__).debug("log of %s: %s", self.id, type(error).__name__)


async def follow(job: Job) -> dict[str, Any]:
    """Show the log until the job has ended; its last state.

    Raises `JobLost` when the cluster falls silent or has forgotten the job.
    """
    heard = time.monotonic()
    log = asyncio.create_task(job.show_log())
    try:
        while True:
            await asyncio.wait({log}, timeout=POLL_S)
            try:
                state = await asyncio.to_thread(job.state)
            except JobUnknown:
                raise JobLost(
                    f"job {job.id}: {job.address} does not know it any more: its head was "
                    "started anew; submit it again to resume"
                ) from None
            except ClusterUnavailable as error:
                if time.monotonic() - heard > LOST_AFTER_S:
                    raise JobLost(f"job {job.id}: lost with its cluster: {error}") from None
            else:
                heard = time.monotonic()
                if state["status"] in ENDED:
                    await asyncio.wait({log}, timeout=LAST_LINES_S)
                    return state
            if log.done():
                await asyncio.sleep(1)
                log = asyncio.create_task(job.show_log())
    finally:
        log.cancel()
