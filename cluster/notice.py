"""Tell Ray that a cloud takes this spot machine back: on machines of a cloud's own, nobody else does.

    python -m cluster.notice aws        # or gcp; beside `ray start`, for as long as the machine lives

Sources: Amazon's and Google's pages on spot machines, which name the addresses and how long before.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from factory.console.say import say

AMAZON = "http://169.254.169.254"
GOOGLE = "http://metadata.google.internal"
"""Where a machine asks about itself; both answer this machine alone, without encryption."""
EVERY_S = 5.0
"""Between two questions, as Amazon advises."""
ANSWER_S = 5.0
"""Longest wait for an answer."""
SESSION_S = 21_600
"""How long a key to Amazon's answers is good; a new one is asked for well before."""


class AmazonMachine:
    """A machine of EC2: told two minutes before it is taken."""

    notice_s = 120

    def __init__(self, address: str = AMAZON) -> None:
        self._address = address
        self._key = ""
        self._until = 0.0

    def is_leaving(self) -> bool:
        """Whether EC2 has said so. Raises `OSError` where it does not answer."""
        if time.monotonic() > self._until:
            life = {"X-aws-ec2-metadata-token-ttl-seconds": str(SESSION_S)}
            self._key = _ask(f"{self._address}/latest/api/token", life, "PUT")
            self._until = time.monotonic() + SESSION_S / 2
        try:
            # There is such a page only once the machine is to leave.
            _ask(
                f"{self._address}/latest/meta-data/spot/instance-action",
                {"X-aws-ec2-metadata-token": self._key},
            )
        except HTTPError as error:
            if error.code == 401:
                self._until = 0.0
            if error.code == 404:
                return False
            raise
        return True


class GoogleMachine:
    """A machine of Compute Engine: told half a minute before it is taken."""

    notice_s = 30

    def __init__(self, address: str = GOOGLE) -> None:
        self._address = address

    def is_leaving(self) -> bool:
        """Whether Google has said so. Raises `OSError` where it does not answer."""
        page = f"{self._address}/computeMetadata/v1/instance/preempted"
        return _ask(page, {"Metadata-Flavor": "Google"}).strip() == "TRUE"


Machine = AmazonMachine | GoogleMachine
CLOUDS: dict[str, Callable[[], Machine]] = {"aws": AmazonMachine, "gcp": GoogleMachine}


def watch(machine: Machine, every_s: float = EVERY_S) -> None:
    """Wait until this machine is to leave, then have Ray give it nothing new; again until Ray has heard."""
    silent = False
    while True:
        try:
            if machine.is_leaving() and _drain(machine.notice_s):
                return
            silent = False
        except OSError as error:
            # One line for each time that it falls silent, and not one every five seconds.
            if not silent:
                say(f"notice: the cloud does not answer: {error}")
            silent = True
        time.sleep(every_s)


def _drain(notice_s: int) -> bool:
    """Whether Ray took it: from now on it gives this node nothing, and editmill's workers begin no unit."""
    say(f"notice: this machine is taken back in {notice_s} s; Ray is told")
    told = subprocess.run(
        [
            *("ray", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
            *("--reason-message", "the cloud takes this spot machine back"),
            *("--deadline-remaining-seconds", str(notice_s)),
        ],
        stdin=subprocess.DEVNULL,
    )
    return told.returncode == 0


def _ask(url: str, headers: dict[str, str], method: str = "GET") -> str:
    with urlopen(Request(url, headers=headers, method=method), timeout=ANSWER_S) as answer:
        return str(answer.read(4096), "utf-8", "replace")


def main(words: list[str]) -> int:
    """The exit code: 0 once Ray was told, 2 for another word than a cloud's and where there is no `ray`."""
    if len(words) != 1 or words[0] not in CLOUDS:
        say(
            f"notice: must be followed by one of {', '.join(CLOUDS)}, got {' '.join(words) or 'none'}"
        )
        return 2
    if shutil.which("ray") is None:
        # Else nobody would hear of it before the notice comes.
        say("notice: ray must be on PATH, got none")
        return 2
    watch(CLOUDS[words[0]]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
