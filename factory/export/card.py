"""The card of an export: what it holds, how it was made, what it is not, and how to make it again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from factory.export.counts import BIN, RANGES, SCORES, PairCounts
from factory.export.facts import made
from factory.export.formats.file import Format
from factory.export.source import SCHEMA
from factory.ledger.laid_out import MARKS
from schemas.export import ExportRecipe

TEMPLATE = Path(__file__).parent / "card.md.jinja"
TITLE = "Instruction edits made by editmill"
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
"""As the Hub calls them."""
BAR = 40
"""Letters of the longest bar."""


def card_of(
    recipe: ExportRecipe,
    format: Format,
    splits: Mapping[str, PairCounts],
    files: Sequence[Mapping[str, Any]],
) -> bytes:
    """README.md: its YAML is what `datasets` and the Hub read, its text what a person does."""
    from huggingface_hub import DatasetCard, DatasetCardData

    data = DatasetCardData(
        license=recipe.licence or "other",
        pretty_name=recipe.title or TITLE,
        language="en",
        task_categories=["image-to-image"],
        size_categories=_size(sum(seen.pairs for seen in splits.values())),
        tags=["image-editing", "instruction-editing", "synthetic", "editmill"],
        **_for_datasets(format, recipe, splits, files),
    )
    card = DatasetCard.from_template(
        data, template_path=str(TEMPLATE), **context(recipe, format, splits, files)
    )
    text = str(card).replace("---\n", f"---\n{MARKS[0]}\n", 1)
    return f"{text.rstrip()}\n\n{MARKS[1]}\n".encode()


def _for_datasets(
    format: Format,
    recipe: ExportRecipe,
    splits: Mapping[str, PairCounts],
    files: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    patterns = format.patterns(list(splits))
    if not patterns:
        return {"viewer": False}
    listed = [{"split": split, "path": path} for split, path in patterns.items()]
    told: dict[str, Any] = {"configs": [{"config_name": "default", "data_files": listed}]}
    if recipe.form == "hf":
        sizes = {split: _bytes(files, split) for split in splits}
        told["dataset_info"] = {
            "features": [_feature(name) for name in SCHEMA.names],
            "splits": [
                {"name": split, "num_bytes": seen.memory, "num_examples": seen.pairs}
                for split, seen in splits.items()
            ],
            "download_size": sum(sizes.values()),
            "dataset_size": sum(seen.memory for seen in splits.values()),
        }
    return told


def _feature(name: str) -> dict[str, str]:
    features = json.loads(SCHEMA.metadata[b"huggingface"])["info"]["features"]
    kind = features[name]
    return {"name": name, "dtype": "image" if kind["_type"] == "Image" else kind["dtype"]}


def _bytes(files: Sequence[Mapping[str, Any]], split: str) -> int:
    return sum(one["bytes"] for one in files if one["split"] == split)


def _size(pairs: int) -> str:
    place = sum(pairs >= 10**power for power in range(3, 8))
    return SIZES[place]


def context(
    recipe: ExportRecipe,
    format: Format,
    splits: Mapping[str, PairCounts],
    files: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What the template tells."""
    source, facts, seen = recipe.source, made(recipe.made), together(splits)
    assert source is not None
    how = facts.get("recipe", {})
    counts = facts.get("counts", {})
    candidates = sum(counts.values())
    accepted = counts.get("accepted", 0)
    hours = facts.get("hours")
    price = recipe.price_per_gpu_hour
    kinds = facts.get("by_kind", {})
    return {
        "title": recipe.title or TITLE,
        "recipe": recipe,
        "source": source,
        "made": facts,
        "how": how,
        "pairs": seen.pairs,
        "splits": [
            {
                "name": name,
                "pairs": one.pairs,
                "files": sum(file["split"] == name for file in files),
                "mb": f"{_bytes(files, name) / 1e6:.1f}",
            }
            for name, one in splits.items()
        ],
        "kinds": [
            {
                "name": escape(" ".join(name.split())),
                "pairs": count,
                "acceptance": _acceptance(kinds.get(name)),
            }
            for name, count in seen.kinds.most_common()
        ],
        "scores": [
            {"name": name, **{f"q{q}": seen.quantile(name, q / 100) for q in (5, 25, 50, 75, 95)}}
            for name in (*SCORES, "p2p_threshold")
        ],
        "bars": {name: list(bars(seen, name)) for name in ("clip_sim_dir", "clip_sim_image")},
        "candidates": candidates,
        "per_accepted": f"{candidates / accepted:.1f}" if accepted else None,
        "hours": hours,
        "seconds_per_accepted": f"{3600 * hours / accepted:.2f}" if accepted and hours else None,
        "money": f"{price * hours:.2f}" if price is not None and hours is not None else None,
        "money_per_accepted": (
            f"{price * hours / accepted:.5f}" if price is not None and hours and accepted else None
        ),
        "samples": [_plain(one) for one in seen.samples],
        "picture": seen.picture,
        "read": format.READ.replace("{{", "{")
        .replace("}}", "}")
        .replace("{place}", "THIS-FOLDER")
        .replace("{shares}", shares(splits)),
    }


def _plain(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Strangers' words on one line, as text: a page shows them, and obeys none."""
    return {
        name: escape(" ".join(value.split())) if isinstance(value, str) else value
        for name, value in sample.items()
    }


def shares(splits: Mapping[str, PairCounts]) -> str:
    """As the original's loader takes them: of train, validation and test."""
    return "0.9, 0.05, 0.05"


def together(splits: Mapping[str, PairCounts]) -> PairCounts:
    """All splits as one."""
    seen = PairCounts()
    for one in splits.values():
        seen.add(one.as_json())
    return seen


def bars(seen: PairCounts, name: str) -> Iterator[str]:
    """A distribution as lines of text, without the empty ends."""
    counts = seen.bins[name]
    there = counts.nonzero()[0]
    if not len(there):
        return
    for place in range(there[0], there[-1] + 1):
        low = RANGES[name][0] + place * BIN
        bar = "#" * round(BAR * counts[place] / counts.max())
        yield f"{low:+.2f}  {counts[place]:>9}  {bar}".rstrip()


def _acceptance(kind: Mapping[str, int] | None) -> str | None:
    if not kind or not sum(kind.values()):
        return None
    return f"{kind['accepted'] / sum(kind.values()):.1%}"
