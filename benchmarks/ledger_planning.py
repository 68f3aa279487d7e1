"""How long a start takes to read a run of many committed units and plan what is open.

python benchmarks/ledger_planning.py make FOLDER UNITS      a run of so many units, ten of them open
python benchmarks/ledger_planning.py start FOLDER UNITS     start it; prints seconds and MiB as JSON
"""

import json
import resource
import sys
import time
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))

from factory.job import prepare  # noqa: E402
from factory.ledger.book import Book  # noqa: E402
from factory.ledger.commits import write_commit  # noqa: E402
from factory.pair_source import draws  # noqa: E402
from factory.selection import Selection  # noqa: E402
from factory.triplets import TripletList  # noqa: E402
from schemas.config import Config  # noqa: E402
from schemas.tally import Tally  # noqa: E402
from tests.stub_source import StubSource, recipe, triplets  # noqa: E402

OPEN = 10


def opened(folder, units):
    config = Config(recipe=recipe(candidates=1, unit_triplets=1))
    with patch("factory.job.pin", lambda recipe: recipe):
        return prepare(config, TripletList(triplets(units)), folder)


def make(folder, units):
    source = StubSource()
    # The benchmark is about reading; a power cut meanwhile would only cost another start.
    with patch("factory.storage.local.os.fsync", lambda descriptor: None):
        run, plan = opened(folder, units)
        for unit in range(units - OPEN):
            of = plan.triplets(unit)
            selection = Selection(run.recipe)
            for outcome in source.pairs([draw for t in of for draw in draws(run.recipe, t)]):
                selection.add(outcome)
            candidates, pairs = selection.result(of)
            write_commit(
                run.store,
                unit,
                candidates,
                pairs,
                attempt=f"{unit:032x}",
                recipe_hash=run.recipe.recipe_hash,
                tally=Tally.of(candidates, {t.triplet_id: t.edit_kind for t in of}),
                environment=source.environment(),
                started=time.time(),
            )
        book = Book(run, plan)
        for segment in book.segments:
            book.roll_up(segment)


def start(folder, units):
    started = time.monotonic()
    run, plan = opened(folder, units)
    done = Book(run, plan).committed()
    pending = [unit for unit in plan.units if not done[unit]]
    seconds = time.monotonic() - started
    assert len(pending) == OPEN
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(seconds, 2), "rss_mib": round(rss, 1)}))


if __name__ == "__main__":
    verb, folder, units = sys.argv[1:]
    {"make": make, "start": start}[verb](folder, int(units))
