"""What a worker's row means to the job."""

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from factory import deeds
from factory.errors import EditmillError, InputError
from factory.work.reports import UnitProblem, UnitReport


class ClusterFailed(EditmillError):
    """Ray could not run the work; what is committed stays."""


def report_of(row: dict[str, Any]) -> UnitReport | UnitProblem:
    """The report in a row. Raises the error of a worker that no other would escape."""
    fatal, problem = int(row["fatal"]), str(row["problem"])
    if fatal == InputError.exit_code:
        deeds.hear(bool(row.get("begun")), bool(row.get("store")))
        raise InputError(problem)
    if fatal:
        raise ClusterFailed(problem)
    if problem:
        return UnitProblem(int(row["unit"]), problem, bool(row["damaged"]))
    # Ray hands back NumPy's scalars.
    kinds: dict[str, Callable[[Any], Any]]
    kinds = {"str": str, "int": int, "float": float, "bool": bool, "dict": json.loads}
    given: dict[str, Any] = {
        f.name: kinds[str(getattr(f.type, "__name__", f.type))](row[f.name])
        for f in fields(UnitReport)
    }
    return UnitReport(**given)
