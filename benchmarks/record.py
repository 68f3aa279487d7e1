"""Write what a benchmark measured, with when, where and on what."""

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "torch",
    "ray",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "pyarrow",
    "numpy",
    "simpy",
)


def machine() -> dict[str, Any]:
    """The processor, its cores, the memory, and the code that is there when measuring begins."""
    names = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": ", ".join(sorted(names)) or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "code": code(),
        "load_average_before": [round(x, 2) for x in os.getloadavg()],
        "gpu": None,
    }


def command() -> str:
    """This program as it was called, its own options included; places elsewhere stand as DIR."""
    program, *words = sys.argv
    shown = ["DIR" if os.path.isabs(word) or word.startswith("..") else word for word in words]
    return shlex.join(["python", f"benchmarks/{Path(program).name}", *shown])


def installed(package: str) -> str | None:
    """Its version; none where it is not here, as Ray beside a plain torch."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def code() -> str | None:
    """The commit that is measured, `-dirty` where files differ from it; none outside a checkout."""
    asked = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def how(where: dict[str, Any]) -> dict[str, Any]:
    """When, by which call, of which code, on what; `where` is `machine()` as it was before measuring."""
    versions = {package: installed(package) for package in PACKAGES}
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
        "code": where.get("code"),
        "machine": {name: value for name, value in where.items() if name != "code"},
        "versions": {"python": platform.python_version(), **versions},
    }


def recorded(figures: dict[str, Any], where: dict[str, Any]) -> dict[str, Any]:
    """Figures with all of that."""
    return how(where) | {"figures": figures}


def write_results(name: str, figures: dict[str, Any], where: dict[str, Any], **beside: Any) -> Path:
    """`benchmarks/results/<name>.json`, as `recorded`, with what else stands in it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = recorded(figures, where) | beside
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(figures, indent=1), file=sys.stderr)
    return path


def replace_results(name: str, prefix: str, figures: dict[str, Any], where: dict[str, Any]) -> Path:
    """Put figures of one prefix in the place of those in a result that is there, with when and how; where
    there is none, write one.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return write_results(name, figures, where)
    record = json.loads(path.read_text())
    kept = {key: value for key, value in record["figures"].items() if not key.startswith(prefix)}
    record["figures"] = kept | figures
    record[f"{prefix}_measured"] = how(where)
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
