"""The command `purge`: a sealed run without some of its pairs, as a run of its own."""

from dataclasses import replace
from typing import Annotated, Optional

import typer

from factory.console.command import resumable
from factory.console.options import AsJson, RunUri, Settings
from factory.console.progress import Progress
from factory.console.say import print_facts, print_json, say
from factory.errors import ConfigError, InputError
from factory.ledger.run import Run, must_be_of_this_release
from factory.ledger.status import status as read_status
from factory.pairs.cleaning.likeness import Fingerprints
from factory.pairs.cleaning.purge import (
    Benchmark,
    Purge,
    looks_of,
    must_be_for_purge,
    read_hashes,
)
from factory.pairs.cleaning.purged import write_purged
from factory.pairs.generate import generate_stage
from factory.pairs.reselection import Candidates, write_selected
from factory.pairs.scores import sealed_manifest
from factory.storage.open import open_store
from factory.verbs import machine
from factory.verbs.results import print_result
from factory.verbs.runs.opened import open_planned
from factory.verbs.runs.remaking import config_of, environment_of
from factory.verbs.runs.select import place
from factory.work.job import begin, run_job
from schemas.ledger.layout import GENERATE

purge_app = typer.Typer(no_args_is_help=True)
MOST_BITS = 16
"""Beyond it pictures of other things are called alike."""


@purge_app.command()
@resumable
def purge(
    run: RunUri,
    hashes: Annotated[
        Optional[str],
        typer.Option(help="A file of SHA-256, one a line: pairs with such a picture go."),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Of pairs that look alike the first stays.")
    ] = False,
    benchmark: Annotated[
        Optional[list[str]],
        typer.Option(
            help="A folder of pictures, or s3://: pairs with a picture like one go; repeatable."
        ),
    ] = None,
    near: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_BITS, help="Bits of 64 in which pictures differ that look alike."
        ),
    ] = 4,
    settings: Settings = None,
    name: Annotated[
        Optional[str], typer.Option(help="What is left becomes a run, RUN/selections/NAME.")
    ] = None,
    out: Annotated[
        Optional[str], typer.Option(help="Or it lies there: a folder or s3://bucket/prefix.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would go, and end.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Take pairs out of a sealed run: by a picture's hash, near duplicates, pictures of a benchmark.

    What is left is a run of its own. RUN itself stays as it is: remove it where its pictures must go.
    Run it again to resume.
    """
    opened, plan = open_planned(run, "purge")
    manifest = sealed_manifest(opened)
    if hashes is None and not duplicates and not benchmark:
        raise ConfigError("--hashes, --duplicates or --benchmark: one must be given, got none")
    config = config_of(opened, environment_of(opened, plan, manifest), settings or [])
    store = None if dry_run else place(opened, name, out)
    if store is not None:
        must_be_for_purge(store)
    must_be_of_this_release(opened)
    purged = Purge(
        hashes_in(hashes) if hashes else frozenset(),
        duplicates,
        benchmark_of(benchmark, near) if benchmark else None,
        near,
    )
    with Progress("pairs", manifest.counts["accepted"]) as progress:
        for looks in looks_of(opened, manifest, purged.look):
            purged.meet(looks)
            progress.advance()
    if store is None:
        tell(opened, purged, as_json)
        return 0
    say(f"{purged.pairs} pairs, {len(purged.reasons)} of them are taken out: {in_words(purged)}")
    items = Candidates(opened).items()
    ours, planned = begin(
        GENERATE, store, lambda: opened.recipe, items, opened.recipe.unit_triplets, extend=True
    )
    write_selected(ours, opened)
    write_purged(ours, purged.reasons)
    stage = replace(generate_stage(machine.load_purger), loading="")
    result = run_job(stage, ours, planned, config, machine.runner(stage, config.compute))
    print_result(read_status(ours, planned, result.book), result, as_json)
    return result.exit_code


def hashes_in(path: str) -> frozenset[str]:
    """Raises `ConfigError` where there is no such file, `InputError` for what is no hash."""
    try:
        with open(path, encoding="utf-8") as stream:
            return read_hashes(stream, path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--hashes {path}: cannot be read: {error}") from None


def benchmark_of(places: list[str], near: int) -> Benchmark:
    """The pictures of some folders. Raises `InputError` where one has none that can be read."""
    found = Benchmark(Fingerprints(near))
    for one in places:
        before = len(found.names)
        found.add(open_store(one))
        if len(found.names) == before:
            why = next(iter(found.unread.values()), "it is empty")
            raise InputError(f"--benchmark {one}: must hold pictures, got none: {why}")
    say(f"benchmark: {len(found.names)} pictures, {len(found.unread)} other files")
    return found


def counts_of(purged: Purge) -> dict[str, int]:
    """What goes, by reason, and which hashes no picture had."""
    unmet = {"hashes of no pair": len(purged.hashes - purged.met)} if purged.hashes else {}
    return {**purged.counts(), **unmet}


def in_words(purged: Purge) -> str:
    """The counts in a line."""
    return ", ".join(f"{count} {words}" for words, count in counts_of(purged).items())


def tell(run: Run, purged: Purge, as_json: bool) -> None:
    """The counts, on stdout."""
    counts = {"pairs": purged.pairs, "taken out": len(purged.reasons), **counts_of(purged)}
    if as_json:
        named = {words.replace(" ", "_"): count for words, count in counts.items()}
        print_json({"uri": run.uri, **named})
    else:
        print_facts(counts)
