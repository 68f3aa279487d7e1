"""How long a start takes to read a run of many committed units and plan what is open.

python benchmarks/ledger_planning.py make FOLDER UNITS      a run of so many units, ten of them open
python benchmarks/ledger_planning.py copy FOLDER URI UNITS  what a start reads of it, to a server
python benchmarks/ledger_planning.py start URI UNITS        start it; prints seconds and MiB as JSON
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.memory import peak_mib  # noqa: E402
from factory.ledger import keys  # noqa: E402
from factory.ledger.book import Book  # noqa: E402
from factory.ledger.status import status  # noqa: E402
from factory.ledger.units.commits import Attempt, write_commit  # noqa: E402
from factory.pairs.generate import outcomes_of, prepare, triplets_of  # noqa: E402
from factory.pairs.selection import Selection  # noqa: E402
from factory.pairs.source import draws  # noqa: E402
from factory.pairs.triplets import TripletList  # noqa: E402
from factory.storage.open import open_store  # noqa: E402
from schemas.config import Config  # noqa: E402
from tests.stub_source import StubSource, recipe, triplets  # noqa: E402

OPEN = 10


def opened(folder, units):
    config = Config(recipe=recipe(candidates=1, unit_triplets=1))
    with patch("factory.pairs.generate.pin", lambda recipe: recipe):
        return prepare(config, TripletList(triplets(units)), folder)


def make(folder, units):
    source = StubSource()
    # The benchmark is about reading; a power cut meanwhile would only cost another start.
    with patch("factory.storage.local.os.fsync", lambda descriptor: None):
        run, plan = opened(folder, units)
        for unit in range(units - OPEN):
            of = triplets_of(plan.items(unit))
            selection = Selection(run.recipe)
            for outcome in source.pairs([draw for t in of for draw in draws(run.recipe, t)]):
                selection.add(outcome)
            candidates, pairs = selection.result(of)
            outcomes = outcomes_of(of, candidates, pairs, source.environment())
            write_commit(run, unit, outcomes, Attempt(f"{unit:032x}"))
        book = Book(run, plan)
        for segment in book.segments:
            book.roll_up(segment)


def copy(folder, uri, units):
    """All but the pairs, and the commits of segments that are rolled up: a start asks for none of them."""
    here, there = open_store(folder), open_store(uri)
    rolled_up = {info.key.removeprefix(keys.SEGMENTS)[:6] for info in here.list(keys.SEGMENTS)}
    assert len(rolled_up) == (units - OPEN) // keys.SEGMENT_UNITS

    def wanted(key):
        segment = key.removeprefix(keys.COMMITS)[:6] if key.startswith(keys.COMMITS) else None
        return not key.startswith(keys.DATA["generate"]) and segment not in rolled_up

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(
            lambda key: there.put(key, here.get(key)),
            [info.key for info in here.list() if wanted(info.key)],
        ):
            pass


def start(uri, units):
    started = time.monotonic()
    run, plan = opened(uri, units)
    done = Book(run, plan).committed()
    pending = [unit for unit in plan.units if not done[unit]]
    planned = figures(started)
    assert len(pending) == OPEN
    started = time.monotonic()
    assert status(run, plan).committed_units == units - OPEN
    read = {f"read_{name}": figure for name, figure in figures(started).items()}
    print(json.dumps(planned | read))


def figures(started):
    return {"seconds": round(time.monotonic() - started, 2), "rss_mib": round(peak_mib(), 1)}


if __name__ == "__main__":
    verb, *where, units = sys.argv[1:]
    verbs: dict[str, Callable[..., None]] = {"make": make, "copy": copy, "start": start}
    verbs[verb](*where, int(units))
