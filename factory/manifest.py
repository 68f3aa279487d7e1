"""Seal a run: the list of its commits, by content, that readers use and nothing else."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from pydantic import ValidationError

from factory import keys
from factory.errors import Damaged, EditmillError, ObjectMissing
from factory.ledger import committed_units, read_record
from factory.plan import Plan
from factory.run import Run
from schemas.arrow import from_parquet, to_parquet
from schemas.canonical import canonical_json, content_hash
from schemas.commit import Manifest, Part, UnitLine

READERS = 8
"""Commits that are read at once."""


class Incomplete(EditmillError):
    """Units of the plan are still open, so there is no whole dataset to seal."""


def seal(run: Run, plan: Plan, *, partial: bool = False) -> tuple[int, Manifest]:
    """Write the manifest of what is committed; sealing the same content again writes nothing.

    Returns its sequence number too. Raises `Incomplete` while units are open, unless `partial`,
    which writes a snapshot marked so; `Damaged` where a pairs object that a commit names is missing.
    """
    units = [unit for unit in committed_units(run.store) if unit in plan.units]
    missing = len(plan.units) - len(units)
    if missing and not partial:
        raise Incomplete(
            f"{run.uri}: {missing} of {len(plan.units)} units are not committed; rerun generate, "
            "or seal --partial for a snapshot"
        )
    with ThreadPoolExecutor(READERS) as pool:
        lines = list(pool.map(lambda unit: _line(run, unit), units))
    parts = tuple(_write_parts(run, lines))
    manifest = Manifest(
        recipe_hash=run.recipe.recipe_hash,
        plan_digest=plan.record.digest,
        partial=missing > 0,
        units=len(lines),
        triplets=_triplets_in(plan, units),
        accepted=sum(line.accepted for line in lines),
        rejected=sum(line.rejected for line in lines),
        failed=sum(line.failed for line in lines),
        parts=parts,
    )
    return _publish(run, manifest), manifest


def _triplets_in(plan: Plan, units: list[int]) -> int:
    """Every unit holds as many as the plan says, but for its last one."""
    size, last = plan.record.unit_triplets, plan.units[-1]
    missing = plan.record.units * size - plan.record.triplets
    return len(units) * size - (missing if last in units[-1:] else 0)


def _line(run: Run, unit: int) -> UnitLine:
    record = read_record(run.store, unit)
    pairs = record.pairs
    if pairs is not None:
        found = run.store.find(pairs.key)
        if found is None or found.bytes != pairs.bytes:
            got = "none" if found is None else f"{found.bytes} bytes"
            raise Damaged(
                f"{run.uri}/{pairs.key}: unit {unit}'s commit names {pairs.bytes} bytes, got {got}"
            )
    total = record.tally.total
    return UnitLine(
        unit=unit,
        candidates_sha256=record.candidates_sha256,
        accepted=total.accepted,
        rejected=total.rejected,
        failed=total.failed,
        pairs_key=pairs.key if pairs else None,
        pairs_sha256=pairs.sha256 if pairs else None,
        pairs_bytes=pairs.bytes if pairs else None,
    )


def _write_parts(run: Run, lines: list[UnitLine]) -> Iterator[Part]:
    for segment, group in groupby(lines, key=lambda line: keys.segment(line.unit)):
        rows = list(group)
        data = to_parquet(UnitLine, rows)
        sha256 = hashlib.sha256(data).hexdigest()
        key = keys.manifest_part(segment, sha256)
        run.store.put(key, data)
        yield Part(key=key, sha256=sha256, units=len(rows))


def _publish(run: Run, manifest: Manifest) -> int:
    data = canonical_json(manifest.model_dump(mode="json"))
    sequence = _next_sequence(run)
    if sequence and run.store.get(keys.manifest(sequence - 1)) == data:
        return sequence - 1
    while not run.store.put_new(keys.manifest(sequence), data):
        # Another sealer was there first, or our own write came back as a refusal.
        if run.store.get(keys.manifest(sequence)) == data:
            break
        sequence += 1
    return sequence


def _next_sequence(run: Run) -> int:
    numbers = [
        int(name)
        for info in run.store.list("manifest/")
        if (name := info.key.removeprefix("manifest/").removesuffix(".json")).isdecimal()
    ]
    return max(numbers, default=-1) + 1


def newest_manifest(run: Run) -> tuple[int, Manifest] | None:
    """The manifest with the highest sequence number, or None where nothing was sealed.

    Raises `Damaged`.
    """
    sequence = _next_sequence(run) - 1
    if sequence < 0:
        return None
    key = keys.manifest(sequence)
    try:
        return sequence, Manifest.model_validate_json(run.store.get(key))
    except ValidationError as error:
        raise Damaged(f"{run.uri}/{key}: not a manifest: {error.errors()[0]['msg']}") from None


def manifest_hash(manifest: Manifest) -> str:
    """sha256 of the manifest: equal for equal datasets."""
    return content_hash(manifest.model_dump(mode="json"))


def unit_lines(run: Run, manifest: Manifest) -> Iterator[UnitLine]:
    """The manifest's lines in unit order. Raises `Damaged` where a part is not what it should be."""
    for part in manifest.parts:
        try:
            data = run.store.get(part.key)
        except ObjectMissing:
            raise Damaged(f"{run.uri}/{part.key}: named by the manifest, not there") from None
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise Damaged(f"{run.uri}/{part.key}: not the bytes that the manifest names")
        yield from from_parquet(UnitLine, data)[0]


def sealed_pairs_uris(run: Run) -> list[str]:
    """The pairs files of the newest manifest, in unit order: what a reader of the data opens."""
    newest = newest_manifest(run)
    lines = unit_lines(run, newest[1]) if newest else []
    return [f"{run.uri}/{line.pairs_key}" for line in lines if line.pairs_key]
