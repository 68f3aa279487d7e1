"""Sealed runs of the stub, to be exported: small, of several prompts, a few pairs each."""

import atexit
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from factory.ledger.plan import write_plan
from factory.ledger.run import Run, create_run
from factory.storage.open import open_store
from schemas.config import Config
from tests.making import run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

PROMPTS = 24


def sealed_run(uri: str, count: int = PROMPTS, listed=None, limit=None, **fields) -> Run:
    """A run of so many prompts, sealed whole, or with a limit a snapshot."""
    wanted = listed or triplets(count)
    run = create_run(open_store(uri), recipe(**fields))
    plan = write_plan(run, wanted, run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": recipe(**fields), "budget": {"limit": limit}})
    assert run_job(run, plan, config, run_here(lambda _: StubSource())).exit_code == 0
    return run


@cache
def shared_run() -> str:
    """One for all tests that only read it."""
    folder = Path(mkdtemp(prefix="editmill-test-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    uri = str(folder / "run")
    sealed_run(uri)
    return uri
