"""A selection by other gates: a run of its own, of candidates that another one made.

Its recipe differs from the other's in gates and keep rule alone. Scores are known, so that only what is
newly kept is made again, from its seed; pairs that were kept before are taken as they are stored. In one
environment all its bytes are those that `generate` would have made by this recipe.

Elsewhere what is made again may score otherwise. Its new scores then count, as they belong to its pictures:
one that passes no more makes room for the next one, and its reason says `rescored`.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
from pydantic import ValidationError

from factory.errors import Damaged, InputError, ObjectMissing
from factory.ledger import keys
from factory.ledger.manifest import part_lines
from factory.ledger.plan import Plan, Row, read_plan
from factory.ledger.run import Run, open_run
from factory.ledger.units.commits import commit_of
from factory.ledger.units.outcomes import Outcomes
from factory.pairs.cleaning.purged import Name
from factory.pairs.generate import outcomes_of, triplets_of
from factory.pairs.scores import sealed_commit, sealed_manifest
from factory.pairs.selection import Selection
from factory.pairs.sheet import stored_pairs
from factory.pairs.source import Draw, Made, NotMade, PairSource, draws
from factory.storage.open import open_store
from factory.storage.patience import read_named, write_once
from factory.storage.protocol import ObjectStore
from factory.storage.stamped import read_stamped
from schemas.candidate import Candidate, Scores, Verdict
from schemas.ledger.commit import UnitLine
from schemas.ledger.stamped import to_stamped_json
from schemas.pair import Pair
from schemas.recipe import Recipe
from schemas.record import Record
from schemas.running.environment import NOWHERE, Environment
from schemas.selected import SelectedRecord
from schemas.triplet import Triplet

RESCORED = "rescored"
"""Beside the reason of one that its stored scores would keep, and those of its remaking do not."""
_EMPTY = np.zeros((0, 0, 3), np.uint8)


def write_selected(run: Run, of: Run) -> None:
    """Say whose candidates a run chooses among. Raises `InputError` where it says another's already."""
    around = run.uri.startswith(f"{of.uri}/{keys.SELECTIONS}")
    record = SelectedRecord(run=None if around else of.uri, recipe_hash=of.recipe_hash)
    if write_once(run.store, keys.SELECTED, to_stamped_json(record)) != to_stamped_json(record):
        raise InputError(
            f"{run.uri}: holds a selection of another run; choose another --name or --out"
        )


def selected_run(run: Run) -> Run:
    """The run whose candidates another one chooses among. Raises `Damaged`, and as opening it does."""
    record = read_stamped(run.store, keys.SELECTED, SelectedRecord, "whose candidates these are")
    place = record.run
    if place is None:
        place = run.uri.rpartition(f"/{keys.SELECTIONS}")[0]
    of = open_run(open_store(place))
    if of.recipe_hash != record.recipe_hash:
        raise Damaged(
            f"{run.uri}/{keys.SELECTED}: names a run of recipe {record.recipe_hash[:16]}, at {of.uri} "
            f"lies one of {of.recipe_hash[:16]}"
        )
    return of


class Candidates:
    """The sealed candidates and pairs of a run, unit by unit; several threads may ask."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.plan: Plan = read_plan(run)
        self.manifest = sealed_manifest(run)
        self._parts = {
            int(part.key.removeprefix(keys.MANIFEST_PARTS)[:6]): part
            for part in self.manifest.parts
        }
        self._lines = lru_cache(maxsize=4)(self._lines_of)
        self._lock = threading.Lock()
        self._unit_of: dict[str, int] = {}

    def _lines_of(self, segment: int) -> dict[int, UnitLine]:
        part = self._parts.get(segment)
        return {line.unit: line for line in part_lines(self.run, part)} if part else {}

    def line(self, unit: int) -> UnitLine | None:
        """What the manifest lists of a unit."""
        return self._lines(keys.segment_of(unit)).get(unit)

    def items(self) -> list[Triplet]:
        """Every triplet of a sealed unit, in order."""
        lines = (line for segment in sorted(self._parts) for line in self._lines(segment).values())
        return [triplet for line in lines for triplet in triplets_of(self.plan.items(line.unit))]

    def units_of(self, unit: int, items: Sequence[Row]) -> list[int]:
        """The units that hold some triplets, which are another plan's unit."""
        if unit in self.plan.units and self.plan.items(unit) == items and self.line(unit):
            return [unit]
        with self._lock:
            if not self._unit_of:
                self._unit_of = {
                    Triplet.model_construct(**row).triplet_id: number
                    for number in self.plan.units
                    for row in self.plan.items(number)
                }
        names = [triplet.triplet_id for triplet in triplets_of(items)]
        return sorted({self._unit_of[name] for name in names})

    def of(self, units: Iterable[int]) -> tuple[dict[Name, Candidate], Record]:
        """Every candidate of some units, and where the first of them were made. Raises `Damaged`."""
        found: dict[Name, Candidate] = {}
        environments: list[Record] = []
        for unit in units:
            line = self.line(unit)
            if line is None:
                raise ObjectMissing(f"{self.run.uri}: unit {unit} is not sealed")
            commit = sealed_commit(self.run, self.plan, line)
            rows = commit_of(self.run, unit, commit.key, commit.data).rows
            found |= {
                (row["triplet_id"], row["index"]): Candidate.model_validate(row) for row in rows
            }
            environments.append(_environment(commit.record.environment))
        return found, environments[0]

    def pairs(self, units: Iterable[int]) -> dict[Name, Pair]:
        """Every pair of some units. Raises `Damaged`."""
        found: dict[Name, Pair] = {}
        for unit in units:
            line = self.line(unit)
            if line is None or line.data_key is None:
                continue
            what = f"{self.run.uri}/{line.data_key}: not the bytes that the manifest names"
            try:
                data = read_named(self.run.store, line.data_key, str(line.data_sha256), what)
            except ObjectMissing:
                raise Damaged(
                    f"{self.run.uri}/{line.data_key}: named by the manifest, not there"
                ) from None
            of_unit = stored_pairs(self.run, line.data_key, data)
            found |= {(pair.triplet_id, pair.index): pair for pair in of_unit}
        return found

    def accepted(self, units: Iterable[int], known: Mapping[Name, Candidate]) -> dict[Name, Pair]:
        """Every pair of some units, whose candidates are known. Raises `Damaged` where one lacks."""
        pairs = self.pairs(units)
        lost = next(
            (n for n, c in known.items() if c.verdict == Verdict.ACCEPTED and n not in pairs), None
        )
        if lost is not None:
            raise Damaged(
                f"{self.run.uri}: candidate {lost[0]}-{lost[1]} is accepted, its pair is not there"
            )
        return pairs


def _environment(stored: Mapping[str, object]) -> Record:
    try:
        return Environment.model_validate(stored)
    except ValidationError:  # of a release that says other things of it
        return NOWHERE


class Reselector:
    """Chooses anew among a unit's candidates; makes pictures of those alone of which there are none."""

    def __init__(
        self, recipe: Recipe, candidates: Candidates, load: Callable[[], PairSource]
    ) -> None:
        """`load` is asked for what makes pictures, once, and only where some must be made."""
        self.recipe = recipe
        self.candidates = candidates
        self._load = load
        self._source: PairSource | None = None
        self._lock = threading.Lock()

    def source(self) -> PairSource:
        """What makes pictures."""
        with self._lock:
            if self._source is None:
                self._source = self._load()
            return self._source

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """The candidates of these triplets as this recipe judges them, and the pairs among them."""
        units = self.candidates.units_of(unit, items)
        known, environment = self.candidates.of(units)
        triplets = triplets_of(items)
        wanted = {
            (draw.triplet.triplet_id, draw.index): draw
            for triplet in triplets
            for draw in draws(self.recipe, triplet)
        }
        stored = partial(self.candidates.accepted, units, known)
        outcomes = {name: known_outcome(draw, known[name]) for name, draw in wanted.items()}
        pairs: dict[Name, Pair] | None = None
        made: dict[Name, Made | NotMade] = {}
        while True:
            selection = Selection(self.recipe)
            for outcome in outcomes.values():
                selection.add(outcome)
            rows, winners = selection.judged(triplets)
            names = [(one.draw.triplet.triplet_id, one.draw.index) for one in winners]
            if pairs is None and any(known[name].verdict == Verdict.ACCEPTED for name in names):
                pairs = stored()
            lacking = [
                name
                for name in names
                if name not in made and known[name].verdict != Verdict.ACCEPTED
            ]
            if not lacking:
                break
            source = self.source()
            for one in source.pairs([wanted[name] for name in lacking]):
                name = (one.draw.triplet.triplet_id, one.draw.index)
                made[name] = one
                outcomes[name] = without_pictures(one)
            environment = source.environment()
        rows = [_rescored(row, made) for row in rows]
        kept = []
        for name in names:
            remade = made.get(name)
            held = pairs or {}
            kept.append(selection.pair(remade) if isinstance(remade, Made) else held[name])
        return outcomes_of(triplets, rows, kept, environment)

    @property
    def rows_run(self) -> int:
        """As `Metered`."""
        return getattr(self._source, "rows_run", 0)

    @property
    def idle_s(self) -> float | None:
        """As `Metered`."""
        return getattr(self._source, "idle_s", None)

    def close(self) -> None:
        """Nothing: a source ends with its process."""


def known_outcome(draw: Draw, candidate: Candidate) -> Made | NotMade:
    """A candidate as it was committed, without pictures. Raises `Damaged` where it is another draw's."""
    if candidate.seed != draw.seed:
        raise Damaged(
            f"candidate {candidate.triplet_id}-{candidate.index}: its seed must be {draw.seed}, got "
            f"{candidate.seed}"
        )
    if candidate.verdict == Verdict.FAILED:
        return NotMade(draw, candidate.reason or "", candidate.truncated)
    scores = Scores(**{name: getattr(candidate, name) for name in Scores.model_fields})
    return Made(draw, _EMPTY, _EMPTY, scores, candidate.truncated)


def without_pictures(outcome: Made | NotMade) -> Made | NotMade:
    """For a second judgement."""
    if isinstance(outcome, NotMade):
        return outcome
    return Made(outcome.draw, _EMPTY, _EMPTY, outcome.scores, outcome.truncated)


def _rescored(row: Candidate, made: Mapping[Name, Made | NotMade]) -> Candidate:
    if row.verdict != Verdict.REJECTED or (row.triplet_id, row.index) not in made:
        return row
    return row.model_copy(update={"reason": f"{row.reason},{RESCORED}"})


def place_of(run: Run, name: str) -> ObjectStore:
    """Where a selection of a run lies that has this name."""
    return open_store(f"{run.uri}/{keys.SELECTIONS}{name}")
