"""A report of a sealed run of pairs: read once, counted, and written as one page."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from factory.console.amounts import counted
from factory.ledger.book import Book
from factory.ledger.manifest import manifest_hash
from factory.ledger.plan import Plan, Row
from factory.ledger.run import Run
from factory.pairs.recount import kinds_of
from factory.pairs.scores import (
    SIMILARITIES,
    ScoredTriplets,
    items_of,
    sealed_manifest,
    sealed_scores,
)
from factory.pairs.source import PairSource
from factory.report import gallery
from factory.report.columns import ACCEPTED, MOST_CANDIDATES, CandidateColumns, sampled
from factory.report.figures import GATE_OF, STEPS, Cost, Figures
from factory.report.page import page
from schemas.ledger.commit import Manifest
from schemas.ledger.tally import KIND_NOT_GIVEN
from schemas.recipe import Recipe

WORDS = {
    "clip_sim_0": "text, before: picture and caption",
    "clip_sim_1": "text, after: picture and caption",
    "clip_sim_dir": "direction: change of pictures and captions",
    "clip_sim_image": "image: before and after",
}
SHORT = {
    "clip_sim_0": "text before",
    "clip_sim_1": "text after",
    "clip_sim_dir": "direction",
    "clip_sim_image": "image",
}
FUNNEL = {
    "triplets": ("captions with an edit", ""),
    "candidates": ("candidates", ""),
    "made": ("could be made", "could not be made"),
    "clip_sim_0": ("show the caption before", "below the text gate"),
    "clip_sim_1": ("show the caption after", "below the text gate"),
    "clip_sim_dir": ("did the edit", "below the direction gate"),
    "clip_sim_image": ("kept the rest", "below the image gate"),
    "kept": ("pairs", "passed, with better ones in their triplet"),
}
"""Of each step what is left after it, and why others are not."""


@dataclass(frozen=True)
class ReportWish:
    """What a report should show."""

    run: str
    """The run, as its reader would name it in a command."""
    pairs: int = 96
    """Of which pictures are shown."""
    rejected: int = 0
    """Candidates that are made again."""
    candidates: tuple[str, ...] = ()
    """The same, by name."""
    price: float | None = None
    """Of a GPU for an hour."""


@dataclass(frozen=True)
class ReadRun:
    """All that was read of a run."""

    run: Run
    plan: Plan
    manifest: Manifest
    figures: Figures
    columns: CandidateColumns


def read(run: Run, plan: Plan, most: int = MOST_CANDIDATES) -> ReadRun:
    """A sealed run's candidates. Raises `InputError` where it is none of pairs, `Incomplete`, `Damaged`."""
    manifest = sealed_manifest(run)
    figures = Figures(run.recipe)

    def parts() -> Iterator[tuple[ScoredTriplets, list[Row]]]:
        for scored in sealed_scores(run, plan, manifest):
            items = items_of(plan, scored)
            figures.add(scored, kinds_of(items))
            yield scored, items

    columns = sampled(parts(), run.recipe, manifest.items, most)
    return ReadRun(run, plan, manifest, figures, columns)


def write(
    reading: ReadRun,
    wish: ReportWish,
    source: Callable[[], PairSource],
    made: Callable[[], None] = lambda: None,
) -> str:
    """The page; `source` is asked for where candidates must be made again, and `made` told of each.

    Raises `InputError` where a candidate that is asked for is none of the page's.
    """
    run, columns, recipe = reading.run, reading.columns, reading.run.recipe
    asked = gallery.places_of(columns, recipe, wish.candidates)
    pairs = gallery.by_lot(columns, columns.state & ACCEPTED != 0)[: wish.pairs].tolist()
    kept = {place for place in asked if columns.state.flat[place] & ACCEPTED}
    pictures = gallery.kept_pictures(run, reading.manifest, columns, [*{*pairs, *kept}])
    others = [place for place in asked if place not in kept]
    others += gallery.of_each_reason(columns, recipe.thresholds, wish.rejected)
    again = gallery.remade_pictures(recipe, columns, list(dict.fromkeys(others)), source, made)
    # What was asked for stands first.
    pictures = {place: (pictures | again)[place] for place in (*asked, *pairs, *again)}
    figures = reading.figures.as_json()
    kinds = sorted(figures["by_kind"])
    number = {kind: i for i, kind in enumerate(kinds)}
    texts = ("original_prompt", "edit_prompt", "edited_prompt")
    data = {
        "run": shlex.quote(wish.run),
        "gates": recipe.thresholds.model_dump() | {"most": recipe.keep.most},
        "each": recipe.candidates,
        "p": list(recipe.p),
        "similarities": [
            {"name": name, "words": WORDS[name], "short": SHORT[name], "gate": GATE_OF[name]}
            for name in SIMILARITIES
        ],
        "funnel": [
            {"name": name, "words": FUNNEL[name][0], "lost": FUNNEL[name][1]} for name in STEPS
        ],
        "listed": _listed(reading),
        "kinds": kinds,
        "triplets": [
            [name, *(row[text] for text in texts), number[row["edit_kind"] or KIND_NOT_GIVEN]]
            for name, row in zip(columns.triplet_ids, columns.items, strict=True)
        ],
        "of_triplets": columns.of_triplets,
        "failures": columns.failures,
        # A list: a script's object would order them by place.
        "pictures": list(pictures.items()),
        "figures": figures,
        "cost": cost(reading, wish.price).as_json(),
    }
    return page(
        data,
        columns.packed(),
        title=f"Report of {wish.run}",
        summary=_summary(recipe, figures),
        facts=_facts(reading),
        is_sample=columns.is_sample,
        triplets=f"{len(columns.items):,}",
        of_triplets=f"{columns.of_triplets:,}",
    )


def cost(reading: ReadRun, price: float | None) -> Cost:
    """What the sealed units took."""
    run, left = reading.run, reading.figures.left
    seconds = sum(line.seconds for line in Book(run, reading.plan).lines())
    rows = 4 * run.recipe.steps * left["candidates"]
    return Cost(rows, seconds, left["kept"], price)


def _listed(reading: ReadRun) -> str:
    """What became of the list before its first candidate."""
    record, made = reading.plan.record, reading.manifest.items
    words = []
    if record.duplicates:
        words.append(f"{record.duplicates} lines of the list said the same again")
    if record.items > made:
        words.append(f"{record.items - made} of the list are still to be made")
    return "; ".join(words)


def _summary(recipe: Recipe, figures: dict[str, object]) -> str:
    source = recipe.text_to_image.source
    return (
        f"{counted(int(str(figures['pairs'])), 'pair')} by {source}, {recipe.size_px} px, {recipe.steps} "
        f"steps, {recipe.candidates} candidates a triplet, at most {recipe.keep.most} kept"
    )


def _facts(reading: ReadRun) -> str:
    run, manifest = reading.run, reading.manifest
    state = "a snapshot of an unfinished run" if manifest.partial else "a whole run"
    return (
        f"{state}, manifest {manifest_hash(run, manifest)[:16]}, recipe {run.recipe_hash[:16]}; "
        "this file needs no network"
    )
