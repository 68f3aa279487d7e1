"""`generate` on Ray over a noting source, in a process of its own that may be killed and started again.

    python -m tests.chaos.driver JOB.json

Ends with the command's exit code.
"""

import sys
from pathlib import Path
from unittest.mock import patch

from pydantic import BaseModel

from factory.errors import EditmillError
from factory.pairs.generate import prepare
from factory.pairs.triplets import TripletList
from factory.storage.open import open_store
from schemas.config import Config
from tests.chaos.noting import Habits, NotingStore
from tests.chaos.subject import SUBJECTS
from tests.making import run_job, run_on_ray


class Job(BaseModel):
    """What a driver is to do."""

    uri: str
    config: Config
    triplets: int
    habits: Habits


def main() -> int:
    """Run the job of the file named."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())

    def runner(*arguments):
        return run_on_ray(*arguments, make_source=job.habits.source())

    with (
        patch("factory.pairs.generate.open_store", lambda uri: NotingStore(open_store(uri))),
        patch("factory.pairs.generate.pin", lambda recipe: recipe),
    ):
        try:
            wanted = SUBJECTS[job.habits.subject].triplets(job.triplets)
            listed = TripletList(wanted)
            run, plan = prepare(job.config, listed, job.uri, extend=True)
            result = run_job(run, plan, job.config, runner)
        except EditmillError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return error.exit_code
    print(result.message, file=sys.stderr)
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
