"""Harm to the objects of a run in a folder: whole objects that are wrong, flipped bytes, missing ones.

`benchmarks/ledger.py` counts what `verify` finds of it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.lines import read_lines, write_lines
from factory.ledger.plan import Plan, read_plan, write_plan
from factory.ledger.run import Run, create_run
from factory.ledger.seal import seal
from factory.ledger.units.reopen import open_failed
from factory.ledger.units.strikes import write_strike
from factory.storage.local import LocalStore
from factory.work.job import JobResult
from schemas.arrow import from_parquet, to_parquet
from schemas.canonical import canonical_json, content_hash
from schemas.config import Config
from schemas.ledger.commit import LedgerLine, UnitLine
from schemas.ledger.stamped import stamped, unstamped
from schemas.pair import Pair
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

Harm = Callable[[Run, Path], None]
"""Takes a run and the folder in which it lies as `run`."""


def finish(run: Run, plan: Plan) -> JobResult:
    """All that is open, made here."""
    config = Config.model_validate({"recipe": recipe()})
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


def eventful(
    folder: Path, store: type[LocalStore] = LocalStore, commits: str = "conditional"
) -> Run:
    """A run with every kind of object: extended, opened again, struck, sealed in part and whole."""
    run = create_run(store(str(folder)), recipe(), commits)
    plan = write_plan(run, triplets(5), 2)
    generate_unit(run, plan, 1, StubSource())
    seal(run, plan, partial=True)
    for alone in (False, False, True):
        write_strike(run.store, 0, 0, alone=alone, worker="w", node="n")
    commit_failed(run, plan, 0, "planted")
    finish(run, plan)
    plan = write_plan(run, triplets(12), 2, extend=True)
    finish(run, open_failed(run, plan))
    return run


def objects(folder: Path) -> list[str]:
    """The keys of a run in a folder."""
    return sorted(info.key for info in LocalStore(str(folder)).list())


def flips(folder: Path) -> Iterator[tuple[str, int]]:
    """Flip a bit at the beginning, at three places within, at the end: of every object, one at a time.

    Each is undone before the next.
    """
    for key in objects(folder):
        path = folder / key
        whole = path.read_bytes()
        for place in {0, len(whole) // 4, len(whole) // 2, 3 * len(whole) // 4, len(whole) - 1}:
            harmed = bytearray(whole)
            harmed[place] ^= 1
            path.write_bytes(harmed)
            yield key, place
        path.write_bytes(whole)


def removals(folder: Path) -> Iterator[str]:
    """Remove every object, one at a time; each is put back before the next."""
    for key in objects(folder):
        path = folder / key
        whole = path.read_bytes()
        path.unlink()
        yield key
        path.write_bytes(whole)


def unknowable(folder: Path) -> set[str]:
    """Keys of `eventful` that nothing names, without which it is a run that never had them; and what is
    derived: scores, and the card.
    """
    scores = {key for key in objects(folder) if keys.is_scores(key)}
    return {keys.strike(0, 2), "README.md", *scores}


def swapped_commit(run: Run, folder: Path) -> None:
    """Whole in itself, and not the one that was sealed."""
    other = create_run(LocalStore(str(folder / "other")), recipe(thresholds=OTHER))
    plan = write_plan(other, triplets(5), 2)
    generate_unit(other, plan, 1, StubSource())
    (folder / "run" / keys.commit(1)).write_bytes(other.store.get(keys.commit(1)))
    for info in other.store.list("pairs/"):
        (folder / "run" / info.key).write_bytes(other.store.get(info.key))


OTHER = {"image": 0.3, "text": 0.2, "direction": 0.2, "borderline": 0.01}


def altered_roll_up(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.roll_up(1)
    lines = read_lines(run.layout, LedgerLine, path.read_bytes())
    counts = lines[1].counts | {"rejected": lines[1].counts["rejected"] + 1}
    lines[1] = lines[1].model_copy(update={"counts": counts})
    path.write_bytes(write_lines(run.layout, LedgerLine, lines))


def altered_manifest(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    plain["failed"] += 1
    path.write_bytes(canonical_json(plain))


def manifest_without_a_part(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    del plain["parts"][1]
    path.write_bytes(canonical_json(plain))


def manifest_with_a_part_of_other_lines(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    old = plain["parts"][0]
    lines = read_lines(run.layout, UnitLine, run.store.get(old["key"]))
    lines[1] = lines[1].model_copy(update={"data_sha256": "0" * 64})
    data = write_lines(run.layout, UnitLine, lines)
    sha256 = hashlib.sha256(data).hexdigest()
    key = keys.manifest_part("000000", sha256)
    run.store.put(key, data)
    plain["parts"][0] = old | {"key": key, "sha256": sha256}
    path.write_bytes(canonical_json(plain))


def altered_plan_head(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.plan_head(1)
    head = unstamped(path.read_bytes())
    path.write_bytes(stamped(head | {"triplets": head["triplets"] - 1}))


def plan_head_with_a_unit_too_many(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.plan_head(1)
    head = unstamped(path.read_bytes())
    last = head["parts"][-1] | {"units": head["parts"][-1]["units"] + 1}
    more = {"units": head["units"] + 1, "parts": [*head["parts"][:-1], last]}
    path.write_bytes(stamped(head | more))


def whole_manifest_called_partial(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    path.write_bytes(canonical_json(plain | {"partial": True}))


def manifest_that_miscounts_a_part(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.manifest(2)
    plain = json.loads(path.read_bytes())
    plain["parts"][0]["units"] += 1
    path.write_bytes(canonical_json(plain))


def manifest_in_another_form(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.manifest(2)
    path.write_bytes(json.dumps(json.loads(path.read_bytes()), indent=1).encode())


def swapped_pairs(run: Run, folder: Path) -> None:
    """A whole file with the same rows, but for a picture."""
    line = next(line for line in Book(run, read_plan(run)).lines() if line.data_key)
    path = folder / "run" / line.data_key
    pairs, _ = from_parquet(Pair, path.read_bytes())
    swapped = pairs[0].model_copy(update={"original_image": pairs[0].edited_image})
    path.write_bytes(to_parquet(Pair, [swapped, *pairs[1:]]))


def altered_run_record(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.RUN
    plain = json.loads(path.read_bytes())
    plain.pop("stamp")
    plain["recipe"]["steps"] += 1
    path.write_bytes(canonical_json(plain | {"stamp": content_hash(plain)}))


def commit_beyond_the_plan(run: Run, folder: Path) -> None:
    path = folder / "run" / keys.commit(99)
    path.parent.mkdir(parents=True)
    path.write_bytes(run.store.get(keys.commit(1)))


WRONG: list[tuple[Harm, str]] = [
    (swapped_commit, "made with another recipe"),
    (swapped_commit, "is not the commit that its roll-up sums up"),
    (swapped_commit, "unit 1's commit is not the sealed one"),
    (altered_roll_up, "is not the commit that its roll-up sums up"),
    (altered_manifest, "failed do not add up"),
    (manifest_without_a_part, "units do not add up"),
    (manifest_with_a_part_of_other_lines, "unit 1's commit is not the sealed one"),
    (altered_plan_head, r"000001/plan\.json: its triplets are not those"),
    (plan_head_with_a_unit_too_many, r"holds \d triplets, \d units"),
    (whole_manifest_called_partial, "partial is True, with 7 of 7"),
    (manifest_that_miscounts_a_part, "is not manifest/parts/.* of 2 units"),
    (manifest_in_another_form, "not in the form that this program writes"),
    (swapped_pairs, r"not the bytes that unit \d committed"),
    (altered_run_record, "recipe does not match its hash"),
    (commit_beyond_the_plan, "unit is not in the plan"),
]
