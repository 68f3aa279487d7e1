"""What a new stage costs: lines of a list, each written in capitals to a file of its own name."""

import hashlib
from pathlib import Path
from typing import ClassVar

from factory.ledger.units.outcomes import Outcomes
from factory.work.stage import Sealing, Stage
from schemas.arrow import columns_of, rows_to_json
from schemas.canonical import canonical_json
from schemas.ledger.layout import Layout
from schemas.ledger.tally import count
from schemas.record import Record
from schemas.running.environment import NOWHERE


class Recipe(Record):
    ending: str = "txt"


class Line(Record):
    BESIDE: ClassVar[str] = "text"
    item_id: str
    words: str


class Outcome(Record):
    key: str
    sha256: str | None
    verdict: str
    reason: str | None


LAYOUT = Layout(
    stage="shout", version=1, items=columns_of(Line), outcomes=columns_of(Outcome),
    counts=("done", "failed"), retry="row", named=True, finishes=True, item="line", kept="file",
)  # fmt: skip


class Shouter:
    """Fails at what cannot be said (yet): words that a folder names."""

    def __init__(self, run, hushed):
        self.ending, self.hushed = run.recipe.ending, hushed

    def make(self, unit, items):
        lines, objects, rows = [Line(**item) for item in items], {}, []
        for line in lines:
            key = f"{line.item_id}.{self.ending}"
            if Path(self.hushed, line.item_id).exists():
                rows.append(Outcome(key=key, sha256=None, verdict="failed", reason="hush"))
                continue
            objects[key] = line.words.upper().encode()
            sha256 = hashlib.sha256(objects[key]).hexdigest()
            rows.append(Outcome(key=key, sha256=sha256, verdict="done", reason=None))
        return Outcomes(rows, count(LAYOUT, rows_to_json(rows)), NOWHERE, objects=objects)

    def close(self): ...


def fail(run, items, reason):
    keys = [f"{item['item_id']}.{run.recipe.ending}" for item in items]
    rows = [Outcome(key=key, sha256=None, verdict="failed", reason=reason) for key in keys]
    return Outcomes(rows, count(LAYOUT, rows_to_json(rows)), NOWHERE)


def index(run, commits):
    rows = [row for commit in commits for row in commit.rows]
    yield "index.json", canonical_json({row["key"]: row["sha256"] for row in rows})


def shout_stage(hushed):
    return Stage(
        LAYOUT, lambda run, pool: Shouter(run, hushed), fail, sealing=Sealing(finish=index)
    )
