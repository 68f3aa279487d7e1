"""`generate`, a stage: candidates of triplets are made and judged, and the best that pass are kept."""

from collections.abc import Sequence

from factory.ledger.outcomes import Data, Outcomes
from factory.ledger.plan import Plan, Row
from factory.ledger.run import Run
from factory.models.pin import pin
from factory.pairs.selection import Selection
from factory.pairs.source import PairSource, draws
from factory.pairs.tally import tally_of
from factory.pairs.triplets import TripletList
from factory.pairs.verify import check_pairs
from factory.storage.open import open_store
from factory.work.job import begin
from factory.work.stage import Load, Stage
from schemas.arrow import to_parquet
from schemas.candidate import Candidate, Scores, Verdict
from schemas.config import Config
from schemas.environment import NOWHERE
from schemas.layout import GENERATE
from schemas.pair import Pair
from schemas.recipe import Recipe
from schemas.record import Record
from schemas.triplet import Triplet


def generate_stage(load: Load) -> Stage:
    """The stage; `load` makes what workers make pairs with."""
    return Stage(
        layout=GENERATE,
        load=load,
        fail=fail_triplets,
        check=check_pairs,
        advice="`editmill doctor` looks at scores and pictures",
    )


def prepare(
    config: Config,
    triplets: TripletList,
    out: str,
    *,
    extend: bool = False,
    retry_failed: bool = False,
) -> tuple[Run, Plan]:
    """Open or begin the run at `out`, all checks first; no weights are loaded. As `begin`."""
    return begin(
        generate_stage(_not_here),
        open_store(out),
        lambda: pin(config.recipe),
        triplets.triplets,
        config.recipe.unit_triplets,
        triplets.duplicates,
        extend=extend,
        retry_failed=retry_failed,
    )


class PairMaker:
    """Makes every candidate of a unit's triplets, judges them, keeps the best."""

    def __init__(self, recipe: Recipe, source: PairSource) -> None:
        self.recipe = recipe
        self.source = source

    def make(self, unit: int, items: Sequence[Row]) -> Outcomes:
        """The candidates of these triplets, in their order, and the pairs among them."""
        triplets = triplets_of(items)
        selection = Selection(self.recipe)
        wanted = [draw for triplet in triplets for draw in draws(self.recipe, triplet)]
        for outcome in self.source.pairs(wanted):
            selection.add(outcome)
        candidates, pairs = selection.result(triplets)
        return outcomes_of(triplets, candidates, pairs, self.source.environment())

    def close(self) -> None:
        """Nothing: a source ends with its process."""


def fail_triplets(run: Run, items: Sequence[Row], reason: str) -> Outcomes:
    """Every candidate of these triplets as failed."""
    triplets = triplets_of(items)
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
            **dict.fromkeys(Scores.model_fields),
        )
        for triplet in triplets
        for draw in draws(run.recipe, triplet)
    ]
    return outcomes_of(triplets, candidates, [], NOWHERE)


def triplets_of(items: Sequence[Row]) -> list[Triplet]:
    """Rows of a plan."""
    return [Triplet.model_validate(row) for row in items]


def outcomes_of(
    triplets: Sequence[Triplet],
    candidates: Sequence[Candidate],
    pairs: Sequence[Pair],
    environment: Record,
) -> Outcomes:
    """What is committed of a unit."""
    tally = tally_of(candidates, {t.triplet_id: t.edit_kind for t in triplets})
    data = Data(to_parquet(Pair, pairs), len(pairs)) if pairs else None
    return Outcomes(candidates, tally, environment, data)


def _not_here(run: Run, pool: object) -> PairMaker:
    raise AssertionError("nothing is made while a run is begun")
