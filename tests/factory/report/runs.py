"""A sealed run whose scores are few, so that gates are met exactly and rivals tie."""

from pathlib import Path

import numpy as np

from factory import seeds
from factory.ledger.plan import Plan, write_plan
from factory.ledger.run import Run, create_run
from factory.pairs.source import Made
from factory.storage.local import LocalStore
from schemas.candidate import Scores
from schemas.config import Config
from schemas.triplet import Triplet
from tests.making import run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

GATES = {"text": 0.2, "direction": 0.2, "image": 0.3, "borderline": 0.05}
EVIL = Triplet(
    original_prompt="</script><script>document.title = 'taken'</script>",
    edit_prompt="<img src=x onerror=\"document.title = 'taken'\">",
    edited_prompt="<!--<script>&amp;",
    edit_kind="<b>bold</b>",
)
"""What a list may hold."""


class Stepped(StubSource):
    """Scores in steps of a tenth."""

    def pairs(self, draws):
        for made in super().pairs(draws):
            if isinstance(made, Made):
                row = np.abs(seeds.noise(made.draw.seed, "steps", (4,))).clip(0, 1)
                steps = [round(float(v) * 10) / 10 for v in row]
                scores = Scores(**dict(zip(Scores.model_fields, steps, strict=True)))
                made = Made(made.draw, made.original, made.edited, scores, truncated=False)
            yield made


def sealed(
    root: Path, count: int = 20, things: list[Triplet] | None = None, source=Stepped, **fields
):
    """A run of so many triplets, ten candidates each."""
    defaults = {"candidates": 10, "thresholds": GATES, "keep": {"most": 2}}
    run = create_run(LocalStore(root), recipe(**(defaults | fields)))
    plan: Plan = write_plan(run, things or triplets(count), run.recipe.unit_triplets)
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    result = run_job(run, plan, config, run_here(lambda _: source()))
    assert result.sealed
    opened: Run = run
    return opened, plan
