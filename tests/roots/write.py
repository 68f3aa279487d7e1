"""Writes the roots and what came of them, once: `python -m tests.roots.write`."""

import json
import shutil
import tempfile
from pathlib import Path

import pyarrow

from factory.ledger.failed import commit_failed, open_failed
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.strikes import write_strike
from factory.pairs.generate import generate_unit
from factory.pairs.source import NotMade
from factory.storage.local import LocalStore
from factory.work.job import run_job
from factory.work.plain_loop import run_here
from schemas.config import Config
from tests.roots.steps import resume, still, walk
from tests.stub_source import StubSource, recipe, triplets

HERE = Path(__file__).parent


class FailingSource(StubSource):
    """Nothing of the triplets named can be made."""

    def __init__(self, names):
        super().__init__()
        self.names = names

    def pairs(self, draws):
        for outcome in super().pairs(draws):
            if outcome.draw.triplet.original_prompt in self.names:
                outcome = NotMade(outcome.draw, "planted for a unit", truncated=True)
            yield outcome


def begin(root, count=9, commits="conditional", **fields):
    store = LocalStore(str(root))
    run = create_run(store, recipe(candidates=4, **fields), commits)
    return run, write_plan(store, triplets(count), run.recipe.unit_triplets, duplicates=1)


def finish(run, plan, source):
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    run_job(run, plan, config, run_here(lambda _: source))


def write_open(root):
    """Units 0, 1 and 3 of 5 are committed, 2 was begun: its pairs are there; nothing is sealed."""
    run, plan = begin(root)
    for unit in (0, 1, 3):
        generate_unit(run, plan, unit, StubSource())
    _stray(root)


def write_sealed(root):
    """Whole, with jpeg pictures and what a lost attempt left."""
    run, plan = begin(root, codec={"format": "jpeg", "quality": 90})
    finish(run, plan, StubSource())
    _stray(root)


def write_extended(root):
    """Sealed with 5 triplets, extended to 12, of which 3 units are made and sealed as a snapshot."""
    run, _ = begin(root, count=5)
    resume(root)
    plan = write_plan(run.store, triplets(12), run.recipe.unit_triplets, extend=True)
    generate_unit(run, plan, 3, StubSource())
    write_strike(run.store, 4, 0, alone=False, worker="worker", node="node")


def write_retried(root):
    """A unit that failed and was made again, one given up after three strikes, both sealed."""
    run, plan = begin(root)
    for number in range(3):
        write_strike(run.store, 3, 0, alone=number == 2, worker=f"worker {number}", node="node")
    commit_failed(run, plan, 3, "poison: worker died 3 times")
    finish(run, plan, FailingSource({"before 2", "before 3", "before 8"}))
    plan = open_failed(run, plan)
    generate_unit(run, plan, 1, StubSource())


def write_weak(root):
    """Several attempts a unit, of which one each counts; a snapshot; two units are open."""
    run, plan = begin(root, commits="sealed")
    for unit in (0, 0, 1, 3, 1):
        # As another worker would, that does not see the first one's commit.
        generate_unit(_blind(run), plan, unit, StubSource())


def write_weak_sealed(root):
    """The same, whole, and then an attempt that came late."""
    write_weak(root)
    resume(root)
    run = open_run(str(root))
    generate_unit(_blind(run), read_plan(run.store), 2, StubSource())


def _blind(run):
    store = LocalStore(run.store.folder)
    seen = store.list

    def listing(prefix=""):
        return iter(()) if prefix.startswith("commits/") else seen(prefix)

    store.list = listing
    run = open_run(run.store)
    run.store = store
    return run


def _stray(root):
    pairs = next((Path(root) / "pairs").glob("00000000-*"))
    pairs.with_name(f"00000002-{'0' * 16}.parquet").write_bytes(pairs.read_bytes())


ROOTS = {
    "open": write_open,
    "sealed": write_sealed,
    "extended": write_extended,
    "retried": write_retried,
    "weak": write_weak,
    "weak-sealed": write_weak_sealed,
}


def main() -> None:
    found = {"pyarrow": pyarrow.__version__}
    for name, write in ROOTS.items():
        root = HERE / name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        with still():
            write(root)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / name
            shutil.copytree(root, copy)
            found[name] = walk(copy)
    (HERE / "expected.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
