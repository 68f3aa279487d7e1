"""`edit`, a stage: pictures of a place, each edited as it is asked, to keys beside the run."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

from factory import seeds
from factory.edits.codec import encoded
from factory.edits.listing import bad_key, open_images
from factory.edits.opening import Opened, Opener
from factory.errors import EditmillError, StorageRefused, first_line
from factory.ledger.named import ANOTHERS, Intended, hash_at
from factory.ledger.plan import Plan, Row
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit
from factory.ledger.units.commits import Commit
from factory.ledger.units.outcomes import Outcomes
from factory.pictures import Picture
from factory.storage.patience import check_answers, patiently
from factory.work.stage import Load, Sealing, Stage
from schemas.arrow import rows_to_json, write_rows
from schemas.edits import (
    EDIT,
    NOWHERE,
    EditCompute,
    EditEnvironment,
    EditItem,
    EditRecipe,
    EditRow,
    Verdict,
)
from schemas.ledger.tally import count

RESULT_ROWS = 65_536
"""In a file of results."""
UNITS_ASKED = 8
"""Whose commits are read for what their workers found."""


def edit_stage(load: Load) -> Stage:
    """The stage; `load` makes what workers edit with."""
    return Stage(
        layout=EDIT,
        load=load,
        fail=fail_pictures,
        sealing=SEALING,
        advice="the results say why of each",
    )


@dataclass(frozen=True)
class Edited:
    """What came of a picture."""

    picture: Picture | None
    """None where `reason` says why."""
    reason: str | None
    facts: dict[str, Any]
    """What its outcome says of how it was edited."""


class Editor(Protocol):
    """Who edits pictures. Several threads may ask it at once."""

    def edit(self, asked: Sequence[tuple[EditItem, Picture]]) -> Iterator[tuple[int, Edited]]:
        """The outcome of each picture (height, width, 3), by its place, as they are ready; each depends on
        its own picture and request only. Raises whatever no other picture would escape.
        """


class Editors(Editor, Protocol):
    """Several: `factory.edits.studio.Studio`, or a stand-in."""

    def environment(self) -> EditEnvironment: ...


@dataclass
class _Hand:
    """A picture in hand."""

    item: EditItem
    facts: dict[str, Any]
    reason: str | None = None
    verdict: Verdict = Verdict.FAILED
    opened: Opened | None = None
    file: Future[bytes] | None = None
    """Its edit as a file."""

    @property
    def standing(self) -> tuple[str, str]:
        """Its key, and the hash of what of another's stands there."""
        return self.item.key, self.facts.get("standing_sha256", "")


class EditMaker:
    """Edits a unit's pictures: fetched and decoded in threads, edited together, encoded as they come."""

    def __init__(self, run: Run, compute: EditCompute, editors: Editors) -> None:
        self.run = run
        self.recipe: EditRecipe = run.recipe
        self.editors = editors
        self.opener = Opener(open_images(self.recipe.images), compute.most_pixels)
        self._threads = ThreadPoolExecutor(compute.fetchers, "editmill-fetcher")

    @property
    def rows_run(self) -> int:
        """As `Metered`."""
        return getattr(self.editors, "rows_run", 0)

    @property
    def idle_s(self) -> float | None:
        """As `Metered`."""
        return getattr(self.editors, "idle_s", None)

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self.opener.close()

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """The edits of these pictures; one that cannot be made is a failed outcome."""
        hands = [_Hand(EditItem.model_validate(row), {}) for row in items]
        self._open_all(hands, Intended(self.run, unit))
        if any(hand.reason == ANOTHERS for hand in hands):
            # What another attempt at this unit left meanwhile is ours: its intent was stored before it.
            ours = Intended(self.run, unit)
            late = [hand for hand in hands if hand.standing in ours]
            for hand in late:
                hand.facts, hand.reason, hand.verdict = {}, None, Verdict.FAILED
            self._open_all(late, ours)
        ready = [hand for hand in hands if hand.opened is not None]
        asked = [(hand.item, hand.opened.picture) for hand in ready if hand.opened]
        for place, edited in self.editors.edit(asked):
            self._take(ready[place], edited)
        objects, rows = {}, []
        for hand in hands:
            data = _written(hand)
            if data is not None:
                objects[hand.item.key] = data
            rows.append(_row(self.recipe, hand, data))
        tally = count(EDIT, rows_to_json(rows))
        environment = self.editors.environment()
        return Outcomes(rows, tally, environment, objects=objects, taken=self._when_taken)

    @property
    def _when_taken(self) -> Verdict:
        """What becomes of a picture at whose key something of another's stands."""
        return Verdict.SKIPPED if self.recipe.on_existing == "skip" else Verdict.FAILED

    def _open_all(self, hands: Sequence[_Hand], ours: Intended) -> None:
        list(self._threads.map(lambda hand: self._open(hand, ours), hands))

    def _open(self, hand: _Hand, ours: Intended) -> None:
        """Fetch and decode, unless nothing may lie at its key, or something else does."""
        item = hand.item
        why = bad_key(item.key)
        if why:
            hand.reason = f"key must {why}"
            return
        try:
            standing = patiently(lambda: hash_at(self.run, item.key, ()))
        except StorageRefused as error:
            check_answers(self.run.place)
            hand.reason = f"what stands at its key cannot be read: {first_line(error)}"
            return
        if standing is not None and (item.key, standing) not in ours:
            hand.facts["standing_sha256"] = standing
            hand.reason, hand.verdict = ANOTHERS, self._when_taken
            return
        found = self.opener.open(item.image)
        hand.facts |= found.facts
        if isinstance(found, Opened):
            hand.opened = found
        else:
            hand.reason = found.reason

    def _take(self, hand: _Hand, edited: Edited) -> None:
        assert hand.opened is not None
        hand.facts |= edited.facts
        hand.reason = edited.reason
        if edited.picture is not None:
            hand.verdict = Verdict.DONE
            own, output = hand.opened.written, self.recipe.output
            tool = f"editmill ({hand.item.editor}, recipe {self.run.recipe_hash[:16]})"
            hand.file = self._threads.submit(encoded, edited.picture, own, output, tool)


def _written(hand: _Hand) -> bytes | None:
    """Its edit's file; where that cannot be made, the picture has failed."""
    try:
        return hand.file.result() if hand.file else None
    except ValueError as error:
        hand.verdict, hand.reason = Verdict.FAILED, str(error)
        return None


def _row(recipe: EditRecipe, hand: _Hand, data: bytes | None) -> EditRow:
    """What is said of a picture."""
    given = {name: getattr(hand.item, name) for name in _ASKED}
    given["seed"] = seed_of(recipe, hand.item)
    facts = dict.fromkeys(EditRow.model_fields) | given | {"truncated": False, "flattened": False}
    facts |= hand.facts | {"verdict": hand.verdict, "reason": hand.reason}
    if data is not None:
        facts |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return EditRow(**facts)


_ASKED = ("image", "key", "editor", "instruction", "source_caption", "target_caption")


def seed_of(recipe: EditRecipe, item: EditItem) -> int:
    """The root of an edit's noise: its own, or a draw by the key of what is made."""
    return item.seed if item.seed is not None else seeds.candidate_seed(recipe.seed, item.key, 0)


def fail_pictures(run: Run, items: Sequence[Row], reason: str) -> Outcomes:
    """All of these pictures as failed."""
    hands = [_Hand(EditItem.model_validate(row), {}, reason) for row in items]
    rows = [_row(run.recipe, hand, None) for hand in hands]
    return Outcomes(rows, count(EDIT, rows_to_json(rows)), NOWHERE)


def batching_of(run: Run, plan: Plan) -> str | None:
    """What workers found of a pipeline's calls for several pictures, by the first unit that says it.

    Theirs is the environment, and on Ray their own words may not be seen.
    """
    for unit in plan.units[:UNITS_ASKED]:
        with suppress(EditmillError):
            environment = find_commit(run, plan, unit).record.environment
            if environment.get("batching"):
                return str(environment["batching"])
    return None


def results(run: Run, commits: Iterator[Commit]) -> Iterator[tuple[str, bytes]]:
    """The table of every picture, in Parquet files of `RESULT_ROWS` in the plan's order."""
    rows = (row for commit in commits for row in commit.rows)
    for number, first in enumerate(rows):
        # As they come: a file's rows, all at once, would be most of what a driver holds.
        part = chain([first], islice(rows, RESULT_ROWS - 1))
        yield f"results_{number:06d}.parquet", write_rows(run.layout.outcomes, part)


SEALING = Sealing(finish=results)
