"""With what candidates of a run are made again: its recipe, and where it says nothing else its batches."""

from collections.abc import Sequence
from typing import Any

from factory.console.config import amended
from factory.errors import ConfigError
from factory.ledger.manifest import unit_lines
from factory.ledger.plan import Plan
from factory.ledger.run import Run, differing_fields
from factory.pairs.scores import sealed_commit
from schemas.config import Config
from schemas.ledger.commit import Manifest

AS_BEFORE = ("batch_pairs", "decode_pairs", "threads")
"""Of an environment what a configuration says, too; pictures are equal to the last bit only where it is."""


def config_of(
    run: Run, environment: dict[str, Any], settings: Sequence[str], free: Sequence[str] = ()
) -> Config:
    """A run's own recipe, made in this process as in some environment, with `key=value` settings.

    Raises `ConfigError` where they change of the recipe what is not `free`: it would make other candidates.
    """
    held = {name: environment[name] for name in AS_BEFORE if environment.get(name)}
    compute = {"where": "here", "gpus_per_worker": 0, **held}
    base = {"recipe": run.recipe.model_dump(mode="json"), "compute": compute}
    config = amended(Config, base, settings)
    differing = differing_fields(run.recipe.identity(), config.recipe.identity())
    others = [line for line in differing if line.partition(".")[0] not in free]
    if others:
        but = f"; {' and '.join(f'recipe.{name}' for name in free)} may be set" if free else ""
        raise ConfigError(
            f"--set recipe.{others[0]}: must stay as the candidates were made{but}; `generate` makes others"
        )
    return config


def environment_of(run: Run, plan: Plan, manifest: Manifest) -> dict[str, Any]:
    """Where the first of the sealed units was made that was made anywhere. Raises `Damaged`."""
    for line in unit_lines(run, manifest):
        if line.counts["failed"] < sum(line.counts.values()):
            return sealed_commit(run, plan, line).record.environment
    return {}
