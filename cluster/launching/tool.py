"""Which tool starts and ends the cluster that a file describes, and by which words."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from string import Template
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cluster.description import FILL_IN
from factory.console.yaml_text import read_text
from factory.errors import ConfigError


@dataclass(frozen=True)
class Launch:
    """A file and its tool."""

    tool: str
    """Name of the program."""
    up: tuple[str, ...]
    """Its words that start the cluster, without those that answer questions beforehand."""
    down: tuple[str, ...]
    yes: tuple[str, ...]
    """What makes it ask nothing."""
    then: str
    """How to reach it once it is up, for a person."""
    needs: tuple[str, ...] = ()
    """Variables of the environment, without which it would not start."""
    runs: tuple[str, ...] = ()
    """What follows `editmill` in the job that it brings along; nothing where none can be read there."""

    def check_environment(self) -> None:
        """Raise `ConfigError` for a variable that is not set."""
        lacking = [name for name in self.needs if not os.environ.get(name)]
        if lacking:
            raise ConfigError(
                f"{', '.join(lacking)}: must be set in this shell for such a file, got nothing"
            )

    def program(self) -> str:
        """Where the tool lies: beside this Python, or on PATH. Raises `ConfigError`."""
        beside = Path(sys.executable).parent / self.tool
        found = str(beside) if os.access(beside, os.X_OK) else shutil.which(self.tool)
        if found is None:
            raise ConfigError(
                f"{self.tool}: must be installed and on PATH for such a file, got none; "
                f"{INSTALL[self.tool]}"
            )
        return found


_CALL = re.compile(r"python -m editmill\s+([^\n|&;]+)")
INSTALL = {
    "ray": "it comes with editmill",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
    "sky": "pip install skypilot, with the extra of your cloud",
}


def launch_of(file: str) -> Launch:
    """By the kind of the file: a launcher's, KubeRay's or SkyPilot's.

    Raises `ConfigError` for a file of no such kind, and for one in which something must be filled in.
    """
    text = read_text(Path(file))
    for number, line in enumerate(text.splitlines(), start=1):
        if FILL_IN in line.partition("#")[0]:
            raise ConfigError(
                f"{file}:{number}: must be filled in, got {line.strip()!r}; `grep -nE '^[^#]*{FILL_IN}'` "
                "finds all there are"
            )
    given = _first_document(text, file)
    if str(given.get("apiVersion", "")).startswith("ray.io/"):
        return _kuberay(file, given)
    if "provider" in given and "cluster_name" in given:
        return _launcher(file)
    if "resources" in given and "address" not in given:
        return _sky(file, given)
    if "address" in given:
        raise ConfigError(
            f"{file}: must describe a cluster to start, got the address of one; `submit` and `chain` "
            "take it"
        )
    raise ConfigError(
        f"{file}: must be Ray's launcher YAML (cluster_name, provider), KubeRay's (apiVersion: ray.io/v1) "
        f"or SkyPilot's (resources), got one with {', '.join(sorted(map(str, given)))[:80] or 'nothing'}"
        f"{'; Slurm has sbatch and scancel' if text.startswith('#!') else ''}"
    )


def _launcher(file: str) -> Launch:
    return Launch(
        tool="ray",
        # Else it would start Ray anew where one runs, which the files' start command refuses.
        up=("up", "--no-restart", file),
        down=("down", file),
        yes=("--yes",),
        then=f"`ray dashboard {file}` brings its port 8265 here: `address: http://127.0.0.1:8265` in a "
        "cluster file",
    )


def _kuberay(file: str, given: dict[str, Any]) -> Launch:
    metadata = given.get("metadata") or {}
    name, kind = metadata.get("name", "NAME"), given.get("kind")
    if kind == "RayJob":
        then = (
            f"`kubectl get rayjob {name}` says how far it is; its log, once the cluster is up: "
            f"`kubectl logs -f job/{name}`"
        )
    else:
        then = (
            f"`kubectl port-forward svc/{name}-head-svc 8265` brings it here: `address: "
            "http://127.0.0.1:8265` in a cluster file"
        )
    return Launch(
        tool="kubectl",
        up=("apply", "-f", file),
        down=("delete", "--ignore-not-found", "-f", file),
        yes=(),
        then=then,
        runs=_verb_of(str((given.get("spec") or {}).get("entrypoint", "")), {}),
    )


def _sky(file: str, given: dict[str, Any]) -> Launch:
    """A file that says how a job is recovered is a managed job, whose nodes end with it; another is a
    cluster. Secrets go by name, from this environment.
    """
    name = str(given.get("name") or Path(file).stem)
    wanted = [str(each) for each, value in (given.get("secrets") or {}).items() if value is None]
    secrets = tuple(word for each in wanted for word in ("--secret", each))
    known = {"SKYPILOT_NUM_NODES": given.get("num_nodes", 1), **(given.get("envs") or {})}
    runs = _verb_of(str(given.get("run") or ""), known)
    if "job_recovery" in (given["resources"] or {}):
        return Launch(
            tool="sky",
            up=("jobs", "launch", "--name", name, "--detach-run", *secrets, file),
            down=("jobs", "cancel", "--name", name),
            yes=("--yes",),
            then=f"`sky jobs queue` says how it is, `sky jobs logs --name {name}` what it does",
            needs=tuple(wanted),
            runs=runs,
        )
    return Launch(
        tool="sky",
        up=("launch", "--cluster", name, "--detach-run", *secrets, file),
        down=("down", name),
        yes=("--yes",),
        then=f"`sky status {name}` says how it is, `sky logs {name}` what it does",
        needs=tuple(wanted),
        runs=runs,
    )


def _verb_of(script: str, variables: Mapping[str, Any]) -> tuple[str, ...]:
    """The words after `python -m editmill` in a shell's script, up to what comes after that command; none
    where there is no such command, or one with a variable that is not known here.
    """
    found = _CALL.search(script.replace("\\\n", " "))
    if found is None:
        return ()
    try:
        return tuple(shlex.split(Template(found[1]).substitute(variables)))
    except (KeyError, ValueError):
        return ()


def _first_document(text: str, file: str) -> dict[str, Any]:
    try:
        found = next(iter(YAML(typ="safe").load_all(StringIO(text))), None)
    except YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {str(error).splitlines()[0]}") from None
    return found if isinstance(found, dict) else {}
