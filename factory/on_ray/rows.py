"""What a worker's row means to the job."""

from typing import Any

from factory import deeds
from factory.errors import EditmillError, InputError
from factory.work.reports import UnitProblem, UnitReport


class ClusterFailed(EditmillError):
    """Ray could not run the work; what is committed stays."""


def report_of(row: dict[str, Any]) -> UnitReport | UnitProblem:
    """The report in a row. Raises the error of a worker that no other would escape."""
    if row["fatal"] == InputError.exit_code:
        deeds.hear(row["begun"], row["store"])
        raise InputError(row["problem"])
    if row["fatal"]:
        raise ClusterFailed(row["problem"])
    if row["problem"]:
        return UnitProblem(row["unit"], row["problem"], row["damaged"])
    return UnitReport(**row["report"])
