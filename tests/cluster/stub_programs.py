"""Programs of a cluster's nodes, played by scripts that write down how they were called."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

RECORD = """#!{python}
import json, os, sys
with open(os.environ["STUB_CALLS"], "a") as file:
    print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=file)
"""


class StubPrograms:
    """A folder for PATH; what is called there, with its words, is read back by `calls`."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._calls = folder / "calls.jsonl"
        self._calls.touch()

    def add(self, name: str, then: str = "") -> None:
        """A program that writes down its call, and goes on with these lines of Python."""
        program = self.bin / name
        program.write_text(RECORD.format(python=sys.executable) + then)
        program.chmod(0o755)

    def calls(self, name: str) -> list[list[str]]:
        every = [json.loads(line) for line in self._calls.read_text().splitlines()]
        return [call for call in every if call[0] == name]

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of this process's own but where programs are: stubs first."""
        paths = os.pathsep.join([str(self.bin), "/usr/bin", "/bin"])
        return {"PATH": paths, "STUB_CALLS": str(self._calls), **more}

    def run(
        self, script: str | Path, *words: str, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", str(script), *words],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def begin(self, script: str | Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", str(script), *words],
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, name: str, seconds: float = 30) -> list[str]:
        """The first call of a program, once there is one."""
        import time

        until = time.monotonic() + seconds
        while time.monotonic() < until:
            calls: Any = self.calls(name)
            if calls:
                return list(calls[0])
            time.sleep(0.05)
        raise AssertionError(f"{name} was not called")
