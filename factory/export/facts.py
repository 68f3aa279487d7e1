"""How the exported run was made, as its card tells it: models, counts, reasons, time, devices."""

import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from factory.export.source import SealedRun
from factory.ledger.units.commits import Commit
from factory.models.find import MINIATURE, model_sources
from factory.pairs.cleaning.purged import purged_by_reason
from schemas.canonical import canonical_json, content_hash
from schemas.ledger.tally import Tally
from schemas.recipe import ModelSource

TALLIES_AT_ONCE = 1024


class Making:
    """Adds a run's commits up, one by one."""

    def __init__(self) -> None:
        self._tallies: list[Tally] = []
        self.seconds = 0.0
        self.ended = 0.0
        self.units = 0
        self.devices: Counter[str] = Counter()
        self.wheels: Counter[str] = Counter()

    def add(self, commit: Commit) -> None:
        """Another unit's."""
        record = commit.record
        self._tallies.append(record.tally)
        if len(self._tallies) > TALLIES_AT_ONCE:
            self._tallies = [Tally.sum(self._tallies)]
        self.units += 1
        self.seconds += record.ended - record.started
        self.ended = max(self.ended, record.ended)
        self.devices[str(record.environment.get("device", "unknown"))] += 1
        wheels = record.environment.get("wheels") or {}
        self.wheels[", ".join(f"{name} {wheels[name]}" for name in sorted(wheels))] += 1

    def as_json(self, sealed: SealedRun) -> str:
        """All of it as JSON, for the recipe of an export."""
        tally, recipe = Tally.sum(self._tallies), sealed.run.recipe
        return canonical_json(
            {
                "version": version("editmill"),
                "recipe": recipe.model_dump(mode="json"),
                "models": [model_facts(name, source) for name, source, _ in model_sources(recipe)],
                "triplets": sealed.manifest.items,
                "planned": sealed.plan.record.items,
                "counts": sealed.manifest.counts,
                "by_kind": tally.by_kind,
                "reasons": tally.reasons,
                "purged": purged_by_reason(sealed.run.store),
                "borderline": tally.marks.get("borderline", 0),
                "truncated": tally.marks.get("truncated", 0),
                "units": self.units,
                "hours": round(self.seconds / 3600, 4),
                "ended": datetime.fromtimestamp(self.ended, UTC).date().isoformat(),
                "devices": dict(self.devices),
                "wheels": self.wheels.most_common(1)[0][0] if self.wheels else "",
            }
        ).decode()


def made(recipe_made: str) -> dict[str, Any]:
    """What `Making.as_json` says, read again."""
    found: dict[str, Any] = json.loads(recipe_made)
    return found


def model_facts(role: str, source: ModelSource) -> dict[str, Any]:
    """A model as a card names it."""
    return {
        "role": role,
        "source": source.source,
        "revision": source.revision,
        "licence": licence_of(source),
        "sha256": content_hash(source.files),
        "files": len(source.files),
    }


def licence_of(source: ModelSource) -> str | None:
    """What a model's own card says of its licence, as far as that lies here; nothing is fetched."""
    if source.source.split("/")[0] == MINIATURE.parent.name:
        return "apache-2.0"
    # A stranger's file: whatever is wrong with it, it states no licence.
    with suppress(Exception):
        card = _card_of(source)
        if card is not None:
            from huggingface_hub.repocard import metadata_load

            said = (metadata_load(card) or {}).get("license")
            return said if isinstance(said, str) else None
    return None


def _card_of(source: ModelSource) -> Path | None:
    here = Path(source.source)
    if source.revision is not None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(source.source, "README.md", revision=source.revision)
        return Path(found) if isinstance(found, str) else None
    card = (here if here.is_dir() else here.parent) / "README.md"
    return card if "://" not in source.source and card.is_file() else None
