"""`generate`, a stage: candidates of triplets are made and judged, and the best that pass are kept."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from factory.errors import Damaged, InputError, ObjectMissing
from factory.ledger.plan import Plan, Row
from factory.ledger.run import Run
from factory.ledger.units.outcomes import Data, Outcomes
from factory.models.pin import pin
from factory.pairs.cleaning.purged import read_purged
from factory.pairs.selection import Selection
from factory.pairs.source import Draw, Made, NotMade, PairSource, draws
from factory.pairs.tally import tally_of
from factory.pairs.triplets import TripletList
from factory.pairs.verify import SEALING
from factory.storage.open import open_store
from factory.work.job import begin
from factory.work.stage import Load, Stage
from schemas.arrow import to_parquet
from schemas.candidate import Candidate
from schemas.config import Config
from schemas.ledger.layout import GENERATE
from schemas.pair import Pair
from schemas.recipe import Recipe
from schemas.record import Record
from schemas.running.environment import NOWHERE
from schemas.triplet import Triplet


def generate_stage(load: Load) -> Stage:
    """The stage; `load` makes what workers make pairs with."""
    return Stage(
        layout=GENERATE,
        load=load,
        fail=fail_triplets,
        sealing=SEALING,
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
    """Open or begin the run at `out`, all checks first; no weights are loaded. As `begin`.

    Raises `InputError` where pairs were purged too: whoever makes a unit anew would bring them back.
    """
    store = open_store(out)
    # What is no such list is no run either, which is said below.
    with suppress(ObjectMissing, Damaged):
        read_purged(store)
        raise InputError(f"{out}: pairs were purged from this run; `purge` alone goes on with it")
    return begin(
        GENERATE,
        store,
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
        wanted = _draws(self.recipe, items)
        return judged(self.recipe, items, self.source.pairs(wanted), self.source.environment)

    @property
    def rows_run(self) -> int:
        """As `Metered`."""
        return getattr(self.source, "rows_run", 0)

    @property
    def idle_s(self) -> float | None:
        """As `Metered`."""
        return getattr(self.source, "idle_s", None)

    def close(self) -> None:
        """Nothing: a source ends with its process."""


def fail_triplets(run: Run, items: Sequence[Row], reason: str) -> Outcomes:
    """Every candidate of these triplets as failed."""
    failed = (NotMade(draw, reason, truncated=False) for draw in _draws(run.recipe, items))
    return judged(run.recipe, items, failed, lambda: NOWHERE)


def judged(
    recipe: Recipe,
    items: Sequence[Row],
    made: Iterable[Made | NotMade],
    environment: Callable[[], Record],
) -> Outcomes:
    """What is committed of triplets, by what was made of their draws, in any order."""
    triplets, selection = triplets_of(items), Selection(recipe)
    for one in made:
        selection.add(one)
    return outcomes_of(triplets, *selection.result(triplets), environment())


def _draws(recipe: Recipe, items: Sequence[Row]) -> list[Draw]:
    return [draw for triplet in triplets_of(items) for draw in draws(recipe, triplet)]


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
    tally = tally_of(candidates, triplets)
    data = Data(to_parquet(Pair, pairs), len(pairs)) if pairs else None
    return Outcomes(candidates, tally, environment, data)
