"""Failed units: committed without one candidate that was made, and how they are opened again."""

import time
import uuid
from contextlib import suppress
from dataclasses import replace

from factory.errors import ObjectMissing
from factory.ledger.attempts import find_commit
from factory.ledger.book import Book
from factory.ledger.commits import write_commit
from factory.ledger.plan import Plan
from factory.ledger.retries import generations, open_again, retries
from factory.ledger.run import Run
from factory.pairs.source import draws
from factory.storage.patience import patiently
from schemas.candidate import Candidate, Scores, Verdict
from schemas.commit import Environment, UnitLine
from schemas.tally import Tally

NOWHERE = Environment(
    device="none", wheels={}, batch_pairs=0, decode_pairs=0, threads=0, attention="none"
)
"""The environment of what was never made."""


def is_failed(line: UnitLine) -> bool:
    """Whether not one candidate of a unit was made."""
    return line.failed > 0 and line.accepted + line.rejected == 0


def open_failed(run: Run, plan: Plan) -> Plan:
    """Open every failed unit again; the plan with the generations that hold now."""
    while True:
        # Counted before anything is read, so that nobody else's retry goes unnoticed.
        sequence = retries(run.store)
        plan = replace(plan, generations=generations(run.store))
        units = [line.unit for line in Book(run, plan).lines() if is_failed(line)]
        if not units:
            return plan
        if open_again(run.store, sequence, units):
            return replace(plan, generations=generations(run.store))


def commit_failed(run: Run, plan: Plan, unit: int, reason: str) -> None:
    """Commit every candidate of a unit as failed, so that a run with a poison unit ends.

    A commit that another attempt has stored meanwhile stays, and counts.
    """
    with suppress(ObjectMissing):
        patiently(lambda: find_commit(run, plan, unit))
        return
    triplets = patiently(lambda: plan.triplets(unit))
    no_scores = dict.fromkeys(Scores.model_fields)
    candidates = [
        Candidate(
            triplet_id=triplet.triplet_id,
            index=draw.index,
            seed=draw.seed,
            p2p_threshold=draw.p,
            cfg_scale=draw.guidance,
            verdict=Verdict.FAILED,
            reason=reason,
            borderline=False,
            truncated=False,
            **no_scores,
        )
        for triplet in triplets
        for draw in draws(run.recipe, triplet)
    ]
    write_commit(
        run.store,
        unit,
        candidates,
        [],
        attempt=uuid.uuid4().hex,
        recipe_hash=run.recipe_hash,
        tally=Tally.of(candidates, {t.triplet_id: t.edit_kind for t in triplets}),
        environment=NOWHERE,
        started=time.time(),
        generation=plan.generation(unit),
        sealed=run.commits == "sealed",
    )
