"""The command `export`: a sealed run as a dataset for others."""

import json
from typing import Annotated, Optional

import typer

from factory.console.amounts import counted
from factory.console.check import CheckOnly
from factory.console.command import resumable
from factory.console.config import EXPORT_PRESETS, Choice, choose_config, preset_names
from factory.console.options import AsJson, ConfigFile, RunUri, iso_time
from factory.console.say import Opening, say
from factory.errors import ConfigError
from factory.ledger.run import Run
from factory.verbs import machine
from factory.verbs.results import print_result
from factory.work.job import JobResult, run_job
from schemas.export import Export

export_app = typer.Typer(no_args_is_help=True)
FORMS = ", ".join(preset_names(EXPORT_PRESETS))


@export_app.command()
@resumable
def export(
    run: RunUri,
    out: Annotated[
        str,
        typer.Option(
            "--to", "--out", help="Where the dataset goes: an empty folder or s3:// prefix."
        ),
    ],
    form: Annotated[
        Optional[str],
        typer.Option(
            "--format",
            help="hf (Parquet for `datasets` and the Hub), webdataset (tar), ip2p (the folders of "
            "InstructPix2Pix) or imagefolder; hf unasked.",
        ),
    ] = None,
    title: Annotated[Optional[str], typer.Option(help="Of the card.")] = None,
    licence: Annotated[
        Optional[str],
        typer.Option("--licence", "--license", help="Of the dataset, by the Hub's name for it."),
    ] = None,
    price_per_gpu_hour: Annotated[
        Optional[float], typer.Option(min=0, help="What the run's hours cost, for the card.")
    ] = None,
    workers: Annotated[
        Optional[int], typer.Option(min=1, help="Write with so many, on Ray; unasked here, alone.")
    ] = None,
    config: ConfigFile = None,
    settings: Annotated[
        Optional[list[str]],
        typer.Option(
            "--set", help="key=value, e.g. recipe.shard_mb=100 or recipe.test=0.1; repeatable."
        ),
    ] = None,
    retry_failed: Annotated[bool, typer.Option(help="Write again what failed.")] = False,
    deadline: Annotated[
        Optional[str], typer.Option(help="Stop at this ISO time; without a zone it is local.")
    ] = None,
    push: Annotated[
        Optional[str],
        typer.Option(metavar="OWNER/NAME", help="Bring it to the Hub as well; needs HF_TOKEN."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="With --push: for all; else for its owner alone.")
    ] = False,
    as_json: AsJson = False,
    check: CheckOnly = False,
) -> int:
    """A sealed run, or a snapshot, as a dataset that others read. Run it again to resume.

    Pairs are split by prompt into train, validation and test (`recipe.validation`, `recipe.test`: shares);
    captions equal but for case, blanks and punctuation lie on one side. A card says what is in it, how it
    was made, and how to make it again. What the run seals later is not in it. Exit codes: 0 done, 2 wrong
    input and nothing was started, 3 incomplete (run it again), 4 a guard stopped it, 5 damaged.
    """
    if form is not None and config is not None:
        raise ConfigError(
            "--format and --config: give one (a file names its format as `base:`), got both"
        )
    if form is not None and form not in preset_names(EXPORT_PRESETS):
        raise ConfigError(f"--format: must be one of {FORMS}, got {form!r}")
    if public and push is None:
        raise ConfigError("--public: must be given with --push, got none")
    options = {
        "--title": ("recipe.title", title and json.dumps(title)),
        "--licence": ("recipe.licence", licence and json.dumps(licence)),
        "--price-per-gpu-hour": ("recipe.price_per_gpu_hour", price_per_gpu_hour),
        "--deadline": ("budget.deadline", deadline and iso_time(deadline, "--deadline")),
    }
    given = {name: f"{key}={value}" for name, (key, value) in options.items() if value is not None}
    if workers is not None:
        many = f"{{where: ray, min_workers: 1, max_workers: {workers}}}"
        given["--workers"] = f"compute={many}"
    choice: Choice[Export] = choose_config(
        Export,
        EXPORT_PRESETS,
        None if config else form or "hf",
        config,
        settings or [],
        options=given,
    )
    loaded = choice.config
    line = choice.line(f"{run} to {out}")
    if check:
        from factory.verbs.checks import check_export

        return check_export(run, out, loaded, line)
    from factory.export.export import export_stage
    from factory.export.prepare import prepare
    from factory.export.push import hub

    # Before anything is begun.
    api = hub(push) if push else None
    opening = Opening(line)
    machine.check_machine(loaded.compute)
    opened, plan = prepare(loaded, run, out, retry_failed=retry_failed)
    opening.begin()
    stage = export_stage()
    result = run_job(stage, opened, plan, loaded, machine.runner(stage, loaded.compute))
    from factory.ledger.status import status as read_status

    state = read_status(opened, plan, result.book)
    code = result.exit_code
    if api is not None and push is not None and code == 0:
        _push(opened, result, api, push, public=public)
    print_result(state, result, as_json)
    return code


def _push(run: Run, result: JobResult, api: object, repository: str, *, public: bool) -> None:
    from factory.export.export import lay_out
    from factory.export.push import push as bring

    assert result.sealed is not None
    beside = {name.removeprefix("../"): data for name, data in lay_out(run, result.sealed)}
    sent = bring(
        run,
        api,  # type: ignore[arg-type]
        repository,
        beside,
        public=public,
        told=lambda count: say(f"{repository}: {counted(count, 'file')} sent"),
    )
    say(f"{repository}: whole on the Hub, {counted(sent, 'file')} sent in this start")
