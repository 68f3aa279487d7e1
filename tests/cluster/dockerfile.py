"""Carry out a Dockerfile's steps in a root file system, where there is no builder of images."""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

WITHIN = (
    'mount --bind /dev "$1/dev" && mount -t proc proc "$1/proc" && '
    'root="$1"; who="$2"; shift 2; exec chroot --userspec="$who" "$root" "$@"'
)
"""In namespaces of its own, so that no mount and no process outlives the step."""


def steps(text: str) -> list[tuple[str, str]]:
    """Instructions and what follows them, lines that go on joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in found]


@dataclass
class Image:
    """A root file system, and what the steps so far have set for the next ones."""

    root: Path
    context: Path
    """What COPY copies from."""
    user: str
    variables: dict[str, str] = field(default_factory=dict)
    folder: str = "/"

    def step(self, word: str, rest: str) -> None:
        match word:
            case "ARG" | "FROM":
                # The base is the root itself.
                pass
            case "ENV":
                given = (pair.partition("=") for pair in shlex.split(rest))
                self.variables |= {name: value for name, _, value in given}
            case "USER":
                self.user = rest
            case "WORKDIR":
                self.folder = rest
                (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY":
                self._copy(rest)
            case "RUN":
                self.run(rest)
            case _:
                raise ValueError(f"a step that is not known here: {word}")

    def run(self, command: str, **variables: str) -> str:
        """What it prints; it has the image's environment and no other."""
        environment = [f"{name}={value}" for name, value in (self.variables | variables).items()]
        line = f"cd {shlex.quote(self.folder)} && {command}"
        ended = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "sh", "-c", WITHIN, "sh"]
            + [str(self.root), self.user, "/usr/bin/env", "-i", *environment]
            + ["/bin/sh", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert ended.returncode == 0, f"{command}: {ended.returncode}\n{ended.stdout[-4000:]}"
        return ended.stdout

    def _copy(self, rest: str) -> None:
        owner, *names = shlex.split(rest)
        uid, gid = map(int, owner.removeprefix("--chown=").split(":"))
        *sources, last = names
        target = self.root / os.path.join(self.folder, last).lstrip("/")
        for name in sources:
            source = self.context / name
            if source.is_dir():
                skipped = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=skipped)
                copied = [target, *target.rglob("*")]
            else:
                target.mkdir(parents=True, exist_ok=True)
                copied = [Path(shutil.copy(source, target / Path(name).name))]
            for path in copied:
                os.chown(path, uid, gid)
