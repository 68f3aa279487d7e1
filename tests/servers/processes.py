"""A server of several processes in a folder: ports, keys and process ids in `server.json` there."""

import argparse
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class ServerFailed(Exception):
    """A server could not be fetched, started or ended."""


class Server(ABC):
    """One server on 127.0.0.1 that can be ended and started again; its own pids are all it ends."""

    name: str
    """In the names of environment variables."""
    programs: tuple[str, ...]
    """Processes in the order in which they start."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.record = self.root / "server.json"
        self.environment: Mapping[str, str] | None = None
        self.state: dict[str, Any] = {}
        if self.record.exists():
            self.state = json.loads(self.record.read_text())

    @abstractmethod
    def up(self) -> None:
        """Start what is not running and wait until the gateway answers."""

    @abstractmethod
    def configuration(self, program: str) -> Path:
        """The file that tells a process of ours by its command line."""

    @property
    def access(self) -> dict[str, str]:
        """The endpoint and the keys, under the names the tests read from the environment."""
        return {
            f"EDITMILL_{self.name}_ENDPOINT": f"http://127.0.0.1:{self.state['gateway_port']}",
            f"EDITMILL_{self.name}_ACCESS_KEY": self.state["access_key"],
            f"EDITMILL_{self.name}_SECRET_KEY": self.state["secret_key"],
        }

    def write(self) -> None:
        self.record.touch(mode=0o600)
        self.record.write_text(json.dumps(self.state))

    def command(self, words: list[str], seconds: float) -> str:
        try:
            return finish(words, seconds, self.environment)
        except ServerFailed as error:
            raise ServerFailed(f"{error}\n{self.output()}") from error

    def output(self) -> str:
        """The last words of every process."""
        logs = sorted((self.root / "log").glob("*.out"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1000:]}" for log in logs)

    def start(self, program: str, command: list[str]) -> None:
        if self.alive(program):
            return
        with (self.root / "log" / f"{program}.out").open("ab") as output:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.state["pids"][program] = process.pid
        self.write()

    def alive(self, program: str) -> bool:
        """Whether that process runs and is ours: a process id may have been given away again."""
        pid = self.state.get("pids", {}).get(program)
        if pid is None:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        ours = str(self.configuration(program)).encode() in words
        # A process that has only just begun has no words yet; nor has one that has ended.
        return ours or (words == [b""] and state != "Z")

    def answers(self) -> bool:
        """Whether the gateway serves."""
        for program in self.state["pids"]:
            if not self.alive(program):
                raise ServerFailed(f"{self.root}: {program} ended while starting\n{self.output()}")
        try:
            urllib.request.urlopen(self.access[f"EDITMILL_{self.name}_ENDPOINT"], timeout=5).close()
        except urllib.error.HTTPError as error:
            # A gateway whose servers behind it are not there yet.
            return error.code < 500
        except OSError:
            return False
        return True

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise ServerFailed(f"{self.root}: not so within {seconds} s: {condition.__name__}")
            time.sleep(0.1)

    def down(self, kill: bool = False) -> None:
        """End the processes that are ours; `kill` gives them no chance to tidy up."""
        for program in reversed(self.programs):
            for end in [signal.SIGKILL] if kill else [signal.SIGTERM, signal.SIGKILL]:
                if self.alive(program):
                    os.kill(self.state["pids"][program], end)
                    try:
                        self.wait(lambda name=program: not self.alive(name), 20)  # type: ignore[misc]
                    except ServerFailed:
                        continue


def finish(
    command: list[str],
    seconds: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """The standard output of a command that must end well."""
    try:
        done = subprocess.run(
            command,
            timeout=seconds,
            env=environment,
            cwd=cwd,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerFailed(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise ServerFailed(f"{' '.join(command[:3])}: ended with {done.returncode}: {done.stderr}")
    return done.stdout


def cache_folder(name: str) -> Path:
    """Where a server's programs are kept: EDITMILL_<NAME>_CACHE, else ~/.cache/editmill/<name>."""
    named = os.environ.get(f"EDITMILL_{name}_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "editmill" / name.lower()


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def command_line(kind: type[Server], description: str) -> int:
    """`up` and `down` of one server."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("verb", choices=["up", "down"])
    parser.add_argument("--root", type=Path, required=True, help="the server's folder")
    parser.add_argument("--shell", action="store_true", help="print exports instead of JSON")
    parser.add_argument("--kill", action="store_true", help="down: SIGKILL, as in a crash")
    arguments = parser.parse_args()
    server = kind(arguments.root)
    try:
        if arguments.verb == "down":
            server.down(kill=arguments.kill)
            return 0
        try:
            server.up()
        except BaseException:
            server.down()
            raise
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.shell:
        for name, value in server.access.items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        print(json.dumps(server.access))
    return 0
