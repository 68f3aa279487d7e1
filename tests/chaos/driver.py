"""A stage's command on Ray with noting makers, in a process that may be killed and started again.

    python -m tests.chaos.driver JOB.json

Ends with the command's exit code.
"""

import sys
from pathlib import Path

from pydantic import BaseModel

from factory.errors import EditmillError
from factory.on_ray.units import run_on_ray
from factory.storage.open import open_store
from tests.chaos.noting import Habits, NotingStore
from tests.chaos.subjects.subject import Work, subject_of


class Job(BaseModel):
    """What a driver is to do."""

    uri: str
    work: Work
    habits: Habits


def main() -> int:
    """Run the job of the file named."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        result = subject_of(job.work).start(
            NotingStore(open_store(job.uri)),
            lambda stage: run_on_ray(job.habits.noted(stage, job.work)),
        )
    except EditmillError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    print(result.message, file=sys.stderr)
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
