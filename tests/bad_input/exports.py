"""Exports: what is no sealed run, places that are not free, forms and shares that are none."""

from pathlib import Path

from tests.bad_input.materials import remove, run, write
from tests.bad_input.table import Case, Step, case

EXPORT = "export run --json --to out"


def begun() -> None:
    """An export of the run, of another form than is asked for."""
    from factory.export.prepare import prepare
    from schemas.export import Export, ExportRecipe

    prepare(Export(recipe=ExportRecipe(form="ip2p", shard_mb=64)), "run", "out")


def no_manifests() -> None:
    for path in Path("run", "manifest").glob("*.json"):
        path.unlink()


def exported(id: str, options: str, message: str, *steps: Step, **fields: object) -> Case:
    return case(id, f"{EXPORT} {options}".rstrip(), message, run, *steps, **fields)


EXPORTS = [
    case("no run to export", EXPORT, r"/.*/run: no run here: RUN\.json is missing"),
    case(
        "an export to export",
        "export out --json --to other",
        r"out: must be a run of `generate`, got one of `export`",
        run,
        begun,
    ),
    exported(
        "a run that was never sealed",
        "",
        r"run: must hold sealed pairs, got no manifest; `editmill seal --partial` seals .*",
        no_manifests,
    ),
    exported(
        "a place that is not free",
        "",
        r"--to out: must be empty or hold an export of ours, got 'notes\.txt'",
        write("out/notes.txt", "mine"),
    ),
    case(
        "a place within the run",
        "export run --json --to run/dataset",
        r"--to run/dataset: must not lie in the run or around it, got run",
        run,
    ),
    exported(
        "another form than was begun",
        "",
        r"out: holds an export that was asked for otherwise; differing: form: 'ip2p' -> 'hf'; .*",
        begun,
    ),
    exported(
        "a form that is none",
        "--format parquet",
        r"--format: must be one of hf, imagefolder, ip2p, webdataset, got 'parquet'",
    ),
    exported(
        "a format and a file",
        "--format hf --config c.yaml",
        r"--format and --config: give one \(a file names its format as `base:`\), got both",
    ),
    exported(
        "shares that leave nothing to train",
        "--set recipe.test=0.5 --set recipe.validation=0.5",
        r"--set: recipe: validation and test must leave some for train, got 0\.5 and 0\.5",
    ),
    exported(
        "row groups that no viewer reads",
        "--set recipe.group_rows=1000",
        r"--set: recipe\.group_rows: Input should be less than or equal to 100, got 1000",
    ),
    exported(
        "the Hub's public without a push", "--public", r"--public: must be given with --push.*"
    ),
    exported(
        "a push without a token",
        "--push me/pairs",
        r"--push: needs a token of the Hub that may write, got none; set HF_TOKEN, or `hf auth login`",
        environment={"HF_TOKEN": "", "HF_TOKEN_PATH": "/nowhere"},
    ),
    exported(
        "a cut manifest of the run to export",
        "",
        r"/.*/run/manifest/000000\.json: not a manifest: .*",
        write("run/manifest/000000.json", "{}"),
        code=3,
    ),
    exported(
        "plan of the run to export is gone",
        "",
        r"/.*/run/plan/000000/plan\.json: .*",
        remove("run/plan/000000/plan.json"),
        code=3,
    ),
]
