"""Stores that cannot be used, runs that are others', and records that were damaged."""

import shutil
from typing import Any

from schemas.ledger.run import RunRecord
from tests.bad_input.materials import (
    CLIP_SHAPES,
    GOOD,
    OTHER,
    cut,
    models,
    remove,
    replace,
    restamp,
    run,
    weights,
    write,
)
from tests.bad_input.table import GENERATE, Case, Step, case, generated

THIRD = '{"input": "a cat", "edit": "make it a pig", "output": "a pig"}\n'
URI = r"store: expected s3://bucket/prefix, .*, got "


def into(id: str, out: str, message: str) -> Case:
    """A start towards another store."""
    return case(id, GENERATE.replace("--out run", f"--out '{out}'"), message, models)


def resumed(id: str, message: str, *steps: Step, options: str = "", **fields: object) -> Case:
    """A start over a run that is there; the store is tried first."""
    return case(id, f"{GENERATE} {options}".rstrip(), rf"/.*/run{message}", run, *steps, **fields)


def damaged(id: str, command: str, message: str, *steps: Step, code: int = 3) -> Case:
    return case(id, command, rf"/.*/run/{message}", run, *steps, code=code)


def other_release(record: dict[str, Any]) -> None:
    record["recipe"]["stage_versions"]["sampler"] = 0


STORES = [
    generated(
        "a file where the run should be",
        "",
        r"/.*/run.*: cannot be used as a store \(Not a directory\); .*",
        write("run", "not a folder"),
    ),
    into(
        "a folder that nobody may write",
        "/proc/editmill",
        r"/proc/editmill.*: cannot be used as a store \(.*\); choose a folder .*",
    ),
    into(
        "a store of a kind that is not known",
        "gs://bucket/run",
        r"store: expected s3://bucket/prefix, file:///folder or a path, got 'gs://bucket/run'",
    ),
    into("one slash too few", "s3:/bucket/run", URI + r"'s3:/bucket/run'"),
    into("a bucket's name that is none", "s3://b/run", r"store: expected .*, got 's3://b/run'"),
    into("no store", "", URI + "''"),
    into(
        "a blank in a prefix",
        "s3://bucket/my run",
        r"store: expected a prefix of .*, got 'my run' .*",
    ),
    into("a way up in a prefix", "s3://bucket/../run", r"store: expected a prefix of .*, got .*"),
    into(
        "keys in a store's address",
        "s3://KEY:canary@bucket/run",
        r"store: .* got some \(not shown\); .*",
    ),
    into(
        "a signature in a store's address",
        "s3://bucket/run?X-Amz-Signature=canary",
        r"store: .* got some \(not shown\).*",
    ),
    *(
        into(
            f"{variable} that nobody filled in",
            f"{variable}/run",
            r"store: variables .*, got '\$.*'",
        )
        for variable in ("${RUNS}", "$(RUNS)")
    ),
    generated(
        "a folder with other files",
        "",
        r"/.*/run: must be empty or a run of editmill, got 'photo\.png' and no RUN\.json",
        write("run/photo.png", "picture"),
    ),
]
RESUMES = [
    resumed(
        "a run with another recipe",
        r": holds a run with another recipe; differing: "
        r"guidance: \[[0-9., ]+\] -> \[2\.0, 3\.0\]; steps: [0-9]+ -> 7",
        options="--set recipe.steps=7 --set recipe.guidance=[2,3]",
    ),
    resumed(
        "a run with other weights",
        r": .*; differing: clip\.files\.open_clip_model\.safetensors: \"\w+\.\.\.\" -> .*",
        write("clip/open_clip_model.safetensors", weights(CLIP_SHAPES, number=b"\0\1")),
    ),
    resumed(
        "a run of another release",
        r": was begun by another release: stage_versions must .*; a run is finished .*",
        restamp("run/RUN.json", RunRecord, other_release),
    ),
    resumed(
        "a run with another list",
        r": was planned with another list of triplets: 2 triplets there, 1 in .* given; it lacks .*",
        write("t.jsonl", GOOD),
    ),
    resumed(
        "a line that was changed since",
        r": was planned with another list .*; it lacks \w+ \('a cat > make it a cow'\)",
        write("t.jsonl", GOOD + OTHER.replace("a cow", "a big cow")),
    ),
    resumed(
        "a kind that was changed since",
        r": was planned with another list .*; it gives \w+ .* another kind or url",
        write("t.jsonl", GOOD + OTHER[:-2] + ', "edit_kind": "colour"}\n'),
    ),
    resumed(
        "a longer list without --extend",
        r": was planned with 2 triplets, the list given adds 1; --extend appends them",
        write("t.jsonl", GOOD + OTHER + THIRD),
    ),
    resumed(
        "a shorter list with --extend",
        r": was planned with another list .*; it lacks .*",
        write("t.jsonl", GOOD + THIRD),
        options="--extend",
    ),
    resumed(
        "a cut RUN.json",
        r"/RUN\.json: not a run record: JSONDecodeError: .*",
        cut("run/RUN.json", 9),
        code=3,
    ),
    resumed(
        "a cut part of the plan",
        r"/plan/000000/.*: not the bytes that the plan names",
        *(cut("run/plan/000000/*.parquet", 9), write("t.jsonl", OTHER + GOOD + THIRD)),
        options="--extend",
        code=3,
    ),
    resumed(
        "a RUN.json of something else",
        r"/RUN\.json: not a run record: .*",
        write("run/RUN.json", '{"name": "my run"}'),
        code=3,
    ),
]
RECORDS = [
    damaged(
        "a cut plan",
        "status --json run",
        r"plan/000000/plan\.json: not a plan: .*",
        cut("run/plan/000000/plan.json", 5),
    ),
    damaged(
        "a cut manifest",
        "status --json run",
        r"manifest/000000\.json: not a manifest: .*",
        cut("run/manifest/000000.json", 5),
    ),
    damaged(
        "an edited RUN.json",
        "status --json run",
        r"RUN\.json: not a run record: .* the record's own stamp [0-9a-f]{64}",
        replace("run/RUN.json", '"candidates":2', '"candidates":3'),
    ),
    damaged(
        "a cut commit",
        "status --json run",
        r"commits/.*: not a whole commit: .*",
        cut("run/commits/*/*.parquet", 9),
        code=5,
    ),
    damaged(
        "a cut part of the manifest",
        "sheet run --out s.png",
        r"manifest/parts/.*: not the bytes that the manifest names",
        cut("run/manifest/parts/*", 9),
    ),
    damaged("a cut file of pairs", "sheet run --out s.png", r"pairs/.*", cut("run/pairs/*", 9)),
    damaged(
        "pairs that are gone",
        "sheet run --out s.png",
        r"pairs/.*: no such object",
        remove("run/pairs"),
    ),
]
SELECT = "select --json run"
SELECTED = f"{SELECT} --set recipe.thresholds.text=-0.5"
SELECTIONS = [
    *(
        case(f"no run to {verb}", f"{verb} run --out page", r"/.*/run: no run here: .* missing")
        for verb in ("select", "report")
    ),
    case(
        "a selection by the run's own gates",
        f"{SELECT} --name same",
        r"--set: must change recipe\.thresholds or recipe\.keep, got what the run was made with",
        run,
    ),
    case(
        "a selection that would make other candidates",
        f"{SELECT} --set recipe.steps=7 --name other",
        r"--set recipe\.steps: \d+ -> 7: must stay as .*; recipe\.thresholds and recipe\.keep may .*",
        run,
    ),
    case(
        "a selection by a gate that is none",
        f"{SELECT} --set recipe.thresholds.txt=0.2 --name other",
        r"--set: unknown key 'recipe\.thresholds\.txt'; .*",
        run,
    ),
    case(
        "a selection by a gate that is no number",
        f"{SELECT} --set recipe.thresholds.text=low --name other",
        r"--set: recipe\.thresholds\.text: .*, got \"low\"",
        run,
    ),
    case(
        "a selection without a name",
        SELECTED,
        r"--name or --out: one must be given, got neither; --dry-run needs none",
        run,
    ),
    case(
        "a selection with a name and a place",
        f"{SELECTED} --name other --out elsewhere",
        r"--name or --out: one must be given, got both; .*",
        run,
    ),
    case(
        "a name that is a way up",
        f"{SELECTED} --name ../other",
        r"--name: must be at most 100 letters, digits and \._-, got '\.\./other'",
        run,
    ),
    case(
        "a selection into its own run",
        f"{SELECTED} --out run",
        r"--out run: must be another place than the run itself",
        run,
    ),
    case(
        "a selection into a folder with other files",
        f"{SELECTED} --out photos",
        r"/.*/photos: must be empty or a run of editmill, got 'photo\.png' and no RUN\.json",
        run,
        write("photos/photo.png", "picture"),
        told=True,
    ),
    case(
        "a selection of a run without a seal",
        f"{SELECTED} --name other",
        r"/.*/run: not sealed yet; .*",
        run,
        remove("run/manifest"),
        code=3,
    ),
]
PURGE = "purge --json run"
PURGES = [
    case("no run to purge", "purge run --duplicates --name a", r"/.*/run: no run here: .* missing"),
    case(
        "a purge of nothing",
        f"{PURGE} --name clean",
        r"--hashes, --duplicates or --benchmark: one must be given, got none",
        run,
    ),
    case(
        "a purge without a name",
        f"{PURGE} --duplicates",
        r"--name or --out: one must be given, got neither; --dry-run needs none",
        run,
    ),
    case(
        "hashes that are not there",
        f"{PURGE} --hashes gone.txt --name clean",
        r"--hashes gone\.txt: cannot be read: .*No such file.*",
        run,
    ),
    case(
        "hashes that are none",
        f"{PURGE} --hashes gone.txt --name clean",
        r"gone\.txt, line 1: must begin with 64 hex digits of SHA-256, got 'cat\.png'",
        run,
        write("gone.txt", "cat.png\n"),
        told=True,
    ),
    case(
        "a benchmark without a picture",
        f"{PURGE} --benchmark photos --name clean",
        r"--benchmark photos: must hold pictures, got none: /.*/photo\.png: .*",
        run,
        write("photos/photo.png", "picture"),
        told=True,
    ),
    case(
        "pictures that may differ in all",
        f"{PURGE} --duplicates --near 40 --name clean",
        "'--near': Input should be less than or equal to 16",
        run,
        usage=True,
    ),
    case(
        "a purge that would make other candidates",
        f"{PURGE} --duplicates --set recipe.steps=7 --name clean",
        r"--set recipe\.steps: \d+ -> 7: must stay as the candidates were made; .*",
        run,
    ),
    case(
        "a purge into a run of its own recipe",
        f"{PURGE} --duplicates --out other",
        r"/.*/other: holds a run that `purge` did not begin; choose another place",
        run,
        lambda: shutil.copytree("run", "other"),
        told=True,
    ),
]
REPORTS = [
    case(
        "a report that cannot be written",
        "report run --out /proc/editmill",
        r"--out /proc/editmill: cannot be written: .*",
        run,
    ),
    case(
        "a report of a run without a seal",
        "report run --out page",
        r"/.*/run: not sealed yet; .*",
        run,
        remove("run/manifest"),
        code=3,
    ),
    case(
        "a report by another recipe",
        "report run --out page --set recipe.steps=7",
        r"--set recipe\.steps: \d+ -> 7: must stay as the candidates were made; .*",
        run,
    ),
    case(
        "a report of a candidate that is none",
        "report run --out page --candidate 0123456789abcdef-0",
        r"--candidate 0123456789abcdef-0: must be a triplet of this page and a number below 2, .*",
        run,
    ),
    damaged(
        "cut scores",
        "report run --out page",
        r"scores/.*: not the scores of a segment: .*; they are derived: remove it, .*",
        cut("run/scores/*", 9),
    ),
]
PLACES = [
    case(
        "a sheet that cannot be written",
        "sheet run --out nowhere/sheet.png",
        r"--out nowhere/sheet\.png: cannot be written: No such file or directory",
        run,
    ),
    case(
        "a whole seal of half a run",
        "seal --json run",
        r"/.*/run: 1 of 2 units are not .*",
        run,
        code=3,
    ),
    case(
        "garbage of half a run",
        "gc --json run",
        r"/.*/run: gc needs a run that is sealed .*",
        run,
        code=3,
    ),
    case(
        "a run without a plan",
        "status run",
        r"run: no plan here; was `generate` started\?",
        run,
        remove("run/plan"),
    ),
    case(
        "a sheet of a run without a seal",
        "sheet run --out s.png",
        r"run: not sealed yet; .*",
        run,
        remove("run/manifest"),
        code=3,
    ),
    *(
        case(f"no run to {verb}", f"{verb} --json run", r"/.*/run: no run here: .* missing")
        for verb in ("status", "verify", "seal", "gc")
    ),
    case("a file as a run", "status t", r"/.*/t: no run here: .*", write("t", "")),
    case("a kind of store that has no runs", "status gs://bucket/run", URI + ".*"),
]
RUNS = STORES + RESUMES + RECORDS + PLACES + SELECTIONS + PURGES + REPORTS
