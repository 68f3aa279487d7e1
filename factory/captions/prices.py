"""What a run's tokens cost: prices lie beside the run for whoever asks later, and are part of no recipe."""

from factory.ledger import keys
from factory.ledger.run import Run
from factory.storage.patience import patiently, write_once
from factory.storage.stamped import find_stamped
from schemas.captions import CaptionBudget, Prices
from schemas.ledger.stamped import to_stamped_json

WHAT = "the prices of a run's tokens"


def keep_prices(run: Run, budget: CaptionBudget) -> None:
    """Store what a start is told, where it is told any and they are others than those that stand."""
    if budget.prices is None:
        return
    number = len(_stored(run))
    if number and find_prices(run) == budget.prices:
        return
    # Another start at this moment may have been told others: either's are as good.
    write_once(run.store, keys.prices(number), to_stamped_json(budget.prices))


def find_prices(run: Run) -> Prices | None:
    """Those that the newest start was told; None where none was told any. Raises `Damaged`."""
    stored = _stored(run)
    return find_stamped(run.store, stored[-1], Prices, WHAT) if stored else None


def _stored(run: Run) -> list[str]:
    return patiently(lambda: sorted(info.key for info in run.store.list(keys.PRICES)))
