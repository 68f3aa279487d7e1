"""The sealed run that is exported: what its manifest lists, and its rows, every byte of them checked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from factory.errors import Damaged, InputError, ObjectMissing, RunMismatch, first_line
from factory.export.shards import TripletPairs, groups_of, pieces_of
from factory.ledger.book import READERS
from factory.ledger.manifest import manifest_hash, newest_manifest, unit_lines
from factory.ledger.plan import Plan, read_plan
from factory.ledger.run import Run, open_run
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.ledger.units.commits import Commit
from factory.storage.patience import read_named
from factory.storage.protocol import ObjectStore
from schemas.arrow import arrow_schema, columns_of, read_named_table
from schemas.candidate import Verdict
from schemas.export import Shard, Source
from schemas.ledger.commit import Manifest, UnitLine
from schemas.ledger.layout import GENERATE
from schemas.pair import Pair
from schemas.triplet import Triplet

SCHEMA = arrow_schema(columns_of(Pair))
"""Of what is exported: the published columns first, then ours; with `datasets` features."""
COMMITS_AT_ONCE = 256


@dataclass(frozen=True)
class SealedRun:
    """A run of pairs and the manifest of it that counts."""

    run: Run
    plan: Plan
    sequence: int
    manifest: Manifest

    @classmethod
    def open(cls, uri: str) -> "SealedRun":
        """By its newest manifest. Raises `InputError` where it is another stage's, or holds no pairs."""
        try:
            run = open_run(uri)
        except RunMismatch as error:
            raise InputError(str(error)) from None
        if run.layout.stage != GENERATE.stage:
            raise InputError(f"{uri}: must be a run of `generate`, got one of `{run.layout.stage}`")
        newest = newest_manifest(run)
        if newest is None or not newest[1].counts["accepted"]:
            got = "a manifest of none" if newest else "no manifest"
            raise InputError(
                f"{uri}: must hold sealed pairs, got {got}; `editmill seal --partial` seals what is there"
            )
        return cls(run, read_plan(run), *newest)

    @property
    def source(self) -> Source:
        """As a recipe names it."""
        manifest = self.manifest
        return Source(
            uri=self.run.uri,
            manifest_hash=manifest_hash(self.run, manifest),
            sequence=self.sequence,
            partial=manifest.partial,
            recipe_hash=self.run.recipe_hash,
            plan_digest=manifest.plan_digest,
        )

    def commits(self) -> Iterator[tuple[UnitLine, Commit]]:
        """What the manifest lists, in unit order. Raises `Damaged`."""

        def read(line: UnitLine) -> Commit:
            try:
                return whole_commit(self.run, find_commit(self.run, self.plan, line.unit, line))
            except ObjectMissing as error:
                raise Damaged(f"{error}; `editmill verify --repair {self.run.uri}` first") from None

        lines = unit_lines(self.run, self.manifest)
        with ThreadPoolExecutor(READERS) as pool:
            while some := list(islice(lines, COMMITS_AT_ONCE)):
                yield from zip(some, pool.map(read, some), strict=True)

    def groups(self, line: UnitLine, commit: Commit) -> Iterator[TripletPairs]:
        """A unit's pairs by triplet; its file's rows are its accepted candidates, in their order."""
        if line.data_key is None:
            return
        triplets = [Triplet.model_validate(item) for item in self.plan.items(line.unit)]
        prompts = {one.triplet_id: one.original_prompt for one in triplets}
        accepted = [row["triplet_id"] for row in commit.rows if row["verdict"] == Verdict.ACCEPTED]
        assert line.data_sha256 is not None
        assert line.data_bytes is not None
        yield from groups_of(
            line.data_key,
            line.data_sha256,
            line.data_bytes,
            accepted,
            [prompts[name] for name in accepted],
        )


def tables_of(store: ObjectStore, shard: Shard) -> Iterator[pa.Table]:
    """A shard's rows, a file of the source at a time. Raises `Damaged`."""
    for key, sha256, rows in pieces_of(shard):
        mend = f"`editmill verify --repair {store.uri}` first"
        where = f"{store.uri}/{key}"
        try:
            data = read_named(store, key, sha256, f"{where}: not the sealed bytes; {mend}")
        except ObjectMissing:
            raise Damaged(f"{where}: sealed, not there; {mend}") from None
        try:
            table = read_named_table(SCHEMA.names, data)
        except ValueError as error:
            raise Damaged(f"{where}: not a pairs file: {first_line(error)}; {mend}") from None
        if len(rows) < table.num_rows:
            # A copy, so that of a file of which one row is wanted no more is held.
            table = table.take(rows)
        yield table.replace_schema_metadata(SCHEMA.metadata)
