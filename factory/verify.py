"""Check a run against its own records: every object, every hash, every count."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from factory import keys
from factory.errors import Damaged, ObjectMissing, first_line
from factory.ledger import committed_units, read_commit
from factory.manifest import READERS, newest_manifest, unit_lines
from factory.plan import Plan, digest, find_plan
from factory.run import Run
from schemas.arrow import from_parquet
from schemas.candidate import Verdict
from schemas.pair import Pair
from schemas.tally import Tally


@dataclass
class Verification:
    """What was looked at and what is wrong."""

    units: int = 0
    pairs: int = 0
    open_units: int = 0
    sealed: bool = False
    damages: list[str] = field(default_factory=list)


def verify(run: Run) -> Verification:
    """Read everything back; never raises for damage, which is listed instead."""
    result = Verification()
    try:
        plan = find_plan(run.store)
    except Damaged as error:
        result.damages.append(str(error))
        return result
    if plan is None:
        result.damages.append(f"{run.uri}: no plan")
        return result
    result.damages += _check_plan(plan)
    if result.damages:
        return result
    units = list(committed_units(run.store))
    result.units = len(units)
    result.open_units = len(set(plan.units) - set(units))
    with ThreadPoolExecutor(READERS) as pool:
        for rows, damages in pool.map(lambda unit: _check_unit(run, plan, unit), units):
            result.pairs += rows
            result.damages += damages
    result.damages += _check_manifest(run, result)
    return result


def _check_plan(plan: Plan) -> Iterator[str]:
    try:
        if digest(list(plan.all_triplets())) != plan.record.digest:
            yield f"{plan.store.uri}/{keys.plan_head(0)}: triplets do not match the plan's digest"
    except (Damaged, ObjectMissing) as error:
        yield str(error)


def _check_unit(run: Run, plan: Plan, unit: int) -> tuple[int, list[str]]:
    where = f"{run.uri}/{keys.commit(unit)}"
    try:
        commit = read_commit(run.store, unit)
    except (Damaged, ObjectMissing) as error:
        return 0, [str(error)]
    damages: list[str] = []
    if unit not in plan.units:
        return 0, [f"{where}: unit is not in the plan"]
    if commit.record.recipe_hash != run.recipe.recipe_hash:
        damages.append(f"{where}: made with another recipe")
    wanted = [
        (triplet.triplet_id, index)
        for triplet in plan.triplets(unit)
        for index in range(run.recipe.candidates)
    ]
    if [(row.triplet_id, row.index) for row in commit.candidates] != wanted:
        damages.append(f"{where}: candidates are not the planned ones")
    kinds = {triplet.triplet_id: triplet.edit_kind for triplet in plan.triplets(unit)}
    if not damages and commit.record.tally != Tally.of(commit.candidates, kinds):
        damages.append(f"{where}: counts are not those of its candidates")
    accepted = [
        (row.triplet_id, row.index) for row in commit.candidates if row.verdict == Verdict.ACCEPTED
    ]
    if commit.record.pairs is None:
        if accepted:
            damages.append(f"{where}: accepts {len(accepted)} candidates, names no pairs")
        return 0, damages
    key = commit.record.pairs.key
    try:
        data = run.store.get(key)
    except ObjectMissing:
        return 0, [*damages, f"{run.uri}/{key}: named by unit {unit}, not there"]
    if hashlib.sha256(data).hexdigest() != commit.record.pairs.sha256:
        return 0, [*damages, f"{run.uri}/{key}: not the bytes that unit {unit} committed"]
    try:
        pairs, _ = from_parquet(Pair, data)
    except (ValueError, OSError) as error:
        return 0, [*damages, f"{run.uri}/{key}: not a pairs file: {first_line(error)}"]
    if [(pair.triplet_id, pair.index) for pair in pairs] != accepted:
        damages.append(f"{run.uri}/{key}: pairs are not the accepted candidates of unit {unit}")
    return len(pairs), damages


def _check_manifest(run: Run, result: Verification) -> Iterator[str]:
    try:
        newest = newest_manifest(run)
        if newest is None:
            return
        sequence, manifest = newest
        where = f"{run.uri}/{keys.manifest(sequence)}"
        result.sealed = True
        if manifest.recipe_hash != run.recipe.recipe_hash:
            yield f"{where}: sealed with another recipe"
        lines = list(unit_lines(run, manifest))
    except (Damaged, ObjectMissing) as error:
        yield str(error)
        return
    if sum(line.accepted for line in lines) != manifest.accepted:
        yield f"{where}: pairs do not add up"
    for line in lines:
        try:
            commit = read_commit(run.store, line.unit)
        except (Damaged, ObjectMissing):
            yield f"{where}: unit {line.unit} is sealed, its commit is damaged or missing"
            continue
        pairs = commit.record.pairs
        found = (commit.record.candidates_sha256, pairs.sha256 if pairs else None)
        if found != (line.candidates_sha256, line.pairs_sha256):
            yield f"{where}: unit {line.unit}'s commit is not the sealed one"
