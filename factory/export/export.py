"""`export`, a stage: shards of a sealed run's pairs, in a form that its readers know, at their own keys."""

import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from factory.export.card import card_of
from factory.export.counts import PairCounts
from factory.export.croissant import croissant_of
from factory.export.formats import hf, imagefolder, ip2p, webdataset
from factory.export.formats.file import File, Format
from factory.export.source import tables_of
from factory.ledger import keys
from factory.ledger.plan import Row
from factory.ledger.run import Run
from factory.ledger.units.commits import Commit
from factory.ledger.units.outcomes import Outcomes
from factory.pairs.sheet import contact_sheet
from factory.storage.open import open_store
from factory.storage.patience import read_named
from factory.work.stage import Sealing, Stage
from schemas.arrow import rows_to_json
from schemas.canonical import canonical_json
from schemas.export import (
    EXPORT,
    SPLITS,
    ExportCompute,
    ExportEnvironment,
    ExportRecipe,
    ExportRow,
    Shard,
    Verdict,
)
from schemas.ledger.commit import Manifest
from schemas.ledger.layout import Layout
from schemas.ledger.tally import count

FORMATS: dict[str, ModuleType] = {
    "hf": hf,
    "webdataset": webdataset,
    "ip2p": ip2p,
    "imagefolder": imagefolder,
}
SAMPLES = "samples.png"
"""Pictures for the card; of the first shard."""
WHEELS = ("editmill", "pyarrow", "pillow")
LAID_OUT = (
    "README.md",
    "croissant.json",
    "generate.yaml",
    "seeds.json",
    *(f"wids-{split}.json" for split in SPLITS),
)
"""Names that a finish may give, as they are laid out."""


def format_of(recipe: ExportRecipe) -> Format:
    """How it is written."""
    found: Any = FORMATS[recipe.form]
    return found


def export_stage() -> Stage:
    """The stage."""
    return Stage(
        layout=EXPORT,
        load=load_maker,
        fail=fail_shards,
        sealing=SEALING,
        loading="",
        advice="`reason` in the commits says why of each",
    )


def load_maker(run: Run, compute: ExportCompute) -> "ShardMaker":
    """What a worker writes shards with."""
    return ShardMaker(ExportRecipe.known(run.recipe))


class ShardMaker:
    """Reads a shard's pairs from the sealed run and writes its files."""

    def __init__(self, recipe: ExportRecipe) -> None:
        assert recipe.source is not None
        self.recipe = recipe
        self.store = open_store(recipe.source.uri)

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """The files of these shards. Raises `Damaged` where the source is not what was sealed."""
        rows: list[ExportRow] = []
        objects: dict[str, bytes] = {}
        for item in items:
            shard = Shard.model_validate(item)
            seen = PairCounts()
            tables = seen.watched(tables_of(self.store, shard))
            files = list(format_of(self.recipe).files(self.recipe, shard, tables))
            if shard.first == 0:
                sheet = contact_sheet(iter(seen.shown.values()), count=len(seen.shown), columns=2)
                files.append(File(SAMPLES, sheet))
            for number, file in enumerate(files):
                objects[file.key] = file.data
                facts = {**seen.as_json(), **file.facts} if number == 0 else file.facts
                rows.append(_row(shard, file.key, len(file.data), number == 0, facts))
        # Hashes are those of what is stored, which is looked at when it is.
        return Outcomes(rows, count(EXPORT, rows_to_json(rows)), environment(), objects=objects)

    def close(self) -> None:
        """Nothing."""


def _row(shard: Shard, key: str, size: int, is_first: bool, facts: dict[str, Any]) -> ExportRow:
    return ExportRow(
        shard=shard.name,
        split="" if key == SAMPLES else shard.split,
        key=key,
        sha256="",
        bytes=size,
        pairs=shard.pairs if is_first else 0,
        facts=canonical_json(facts).decode() if facts else None,
        verdict=Verdict.STORED,
        reason=None,
    )


def environment() -> ExportEnvironment:
    """Of this process."""
    wheels = {"python": platform.python_version()}
    for name in WHEELS:
        with suppress(PackageNotFoundError):
            wheels[name] = version(name)
    return ExportEnvironment(device="cpu", wheels=wheels)


def fail_shards(run: Run, items: Sequence[Row], reason: str) -> Outcomes:
    """All of these shards as failed."""
    rows = []
    for item in items:
        shard = Shard.model_validate(item)
        failed = {"verdict": Verdict.FAILED, "reason": reason, "sha256": None, "bytes": None}
        rows.append(_row(shard, shard.name, 0, True, {}).model_copy(update=failed))
    return Outcomes(
        rows, count(EXPORT, rows_to_json(rows)), ExportEnvironment(device="none", wheels={})
    )


def finish(run: Run, commits: Iterator[Commit]) -> Iterator[tuple[str, bytes]]:
    """The card, the description for machines, the recipe, and the format's indices."""
    recipe = ExportRecipe.known(run.recipe)
    format, seen = format_of(recipe), {name: PairCounts() for name in SPLITS}
    firsts: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    for commit in commits:
        for row in commit.rows:
            if row["verdict"] != Verdict.STORED:
                continue
            facts = json.loads(row.pop("facts") or "{}")
            if "bins" in facts:
                seen[row["split"]].add(facts)
                facts = {name: facts[name] for name in facts if name not in PairCounts().as_json()}
                firsts.append(row | {"facts": facts})
            elif facts:
                firsts.append(row | {"facts": facts})
            files.append({name: row[name] for name in ("key", "sha256", "bytes", "split")})
    holding = {name: one for name, one in seen.items() if one.pairs}
    made = {
        "README.md": card_of(recipe, format, holding, files),
        "croissant.json": croissant_of(recipe, holding, files),
        "generate.yaml": _config(recipe),
        **dict(format.indices(list(holding), firsts)),
    }
    for name, data in made.items():
        yield keys.finish_name(name), data


def _config(recipe: ExportRecipe) -> bytes:
    """The recipe of the source as a configuration of `generate`, which remakes its pairs."""
    made = json.loads(recipe.made).get("recipe", {})
    text = json.dumps({"recipe": made}, indent=1, ensure_ascii=False)
    return f"# What the pairs were made by; JSON is YAML.\n{text}\n".encode()


def lay_out(run: Run, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """As `LayOut`: what the finish made, of an export that is whole; else somebody would read a part."""
    if manifest.partial:
        return
    names = {keys.finish_name(name): name for name in LAID_OUT}
    for one in manifest.objects:
        what = f"{run.uri}/{one.key}: not the bytes that the manifest names"
        data = read_named(run.store, one.key, one.sha256, what)
        yield keys.AROUND + names[keys.name_of_finish(one.key)], data


def check_shards(
    run: Run, items: list[Row], commit: Commit, data: bytes | None
) -> Iterator[tuple[str, str]]:
    """A `Check` of `export`'s units: a shard of which some files could not be stored is no shard."""
    failed = [row for row in commit.rows if row["verdict"] == Layout.FAILED]
    if failed and len(failed) < len(commit.rows):
        yield (
            "",
            f"of a shard {len(failed)} files lack, first {failed[0]['key']}: {failed[0]['reason']}",
        )
    pairs = sum(Shard.model_validate(item).pairs for item in items)
    told = sum(row["pairs"] for row in commit.rows)
    if told != pairs:
        yield "", f"holds {told} pairs, {pairs} were planned"


SEALING = Sealing(check_shards, finish=finish, lay_out=lay_out)
