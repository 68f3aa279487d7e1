"""The card at a sealed run's root, by which `datasets.load_dataset(RUN)` reads its pairs and nothing else.

    RUN/README.md           its YAML names the files of the newest manifest, all as split `train`

Objects of lost attempts lie among those files, so that no pattern could tell them apart. A card for
others to read, with a split by prompts, is what `export` writes.
"""

from collections.abc import Iterator

from factory.ledger.laid_out import MARKS
from factory.ledger.manifest import manifest_hash, unit_lines
from factory.ledger.run import Run
from schemas.ledger.commit import Manifest

NAME = "README.md"


def run_card(run: Run, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """As `LayOut`."""
    files = [line.data_key for line in unit_lines(run, manifest) if line.data_key]
    yield NAME, _card(run, manifest, files).encode()


def _card(run: Run, manifest: Manifest, files: list[str]) -> str:
    # Keys are letters, digits and ._-/, which YAML takes as they stand.
    configs = [
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path:",
        *(f"    - {key}" for key in files),
    ]
    what = "a snapshot of a run that goes on" if manifest.partial else "sealed whole"
    counts = manifest.counts
    lines = [
        "---",
        MARKS[0],
        *(configs if files else ["configs: []"]),
        "tags:",
        "- editmill",
        "- image-editing",
        "---",
        "",
        "# Before/after pairs of a run of editmill",
        "",
        f"{counts['accepted']} pairs of {manifest.items} triplets, {what}: "
        f"{counts['rejected']} candidates were rejected, {counts['failed']} could not be made. "
        "`datasets.load_dataset` on this folder gives the pairs as split `train`; "
        "`editmill export` makes a dataset of them for others, split by prompt.",
        "",
        f"- manifest: `{manifest_hash(run, manifest)}`",
        f"- recipe: `{run.recipe_hash}`, whole in `RUN.json`",
        "",
        MARKS[1],
        "",
    ]
    return "\n".join(lines)
