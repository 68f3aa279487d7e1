"""Check one unit: its commit against the plan, its pairs against its commit."""

from factory.errors import Damaged, ObjectMissing, first_line
from factory.ledger.attempts import Found
from factory.ledger.commits import commit_of
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.storage.patience import read_named
from schemas.arrow import from_parquet
from schemas.candidate import Candidate, Verdict
from schemas.commit import DataFile
from schemas.pair import Pair
from schemas.tally import Tally


def check_unit(run: Run, plan: Plan, found: Found) -> tuple[int, list[str]]:
    """How many pairs a unit holds, and what is wrong with it."""
    unit, record = found.record.unit, found.record
    where = f"{run.uri}/{found.key}"
    try:
        candidates = commit_of(run.store, unit, found.key, found.data).candidates
    except Damaged as error:
        return 0, [str(error)]
    damages: list[str] = []
    if record.recipe_hash != run.recipe_hash:
        damages.append(f"{where}: made with another recipe")
    triplets = plan.triplets(unit)
    wanted = [
        (triplet.triplet_id, index)
        for triplet in triplets
        for index in range(run.recipe.candidates)
    ]
    if [(row.triplet_id, row.index) for row in candidates] != wanted:
        damages.append(f"{where}: candidates are not the planned ones")
    kinds = {triplet.triplet_id: triplet.edit_kind for triplet in triplets}
    if not damages and record.tally != Tally.of(candidates, kinds):
        damages.append(f"{where}: counts are not those of its candidates")
    accepted = _accepted(candidates)
    if record.pairs is None:
        if accepted:
            damages.append(f"{where}: accepts {len(accepted)} candidates, names no pairs")
        return 0, damages
    rows, more = _check_pairs(run, unit, record.pairs, accepted)
    return rows, damages + more


def _accepted(candidates: list[Candidate]) -> list[tuple[str, int]]:
    return [(row.triplet_id, row.index) for row in candidates if row.verdict == Verdict.ACCEPTED]


def _check_pairs(
    run: Run, unit: int, file: DataFile, accepted: list[tuple[str, int]]
) -> tuple[int, list[str]]:
    where = f"{run.uri}/{file.key}"
    what = f"{where}: not the bytes that unit {unit} committed"
    try:
        data = read_named(run.store, file.key, file.sha256, what)
    except ObjectMissing:
        return 0, [f"{where}: named by unit {unit}, not there"]
    except Damaged as error:
        return 0, [str(error)]
    try:
        pairs, _ = from_parquet(Pair, data)
    except (ValueError, OSError) as error:
        return 0, [f"{where}: not a pairs file: {first_line(error)}"]
    if [(pair.triplet_id, pair.index) for pair in pairs] != accepted:
        return len(pairs), [f"{where}: pairs are not the accepted candidates of unit {unit}"]
    return len(pairs), []
