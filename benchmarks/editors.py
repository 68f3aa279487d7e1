"""The miniature's editor, what gates are worth to one, and the oracle's word on both.

python benchmarks/editors.py --work DIR      (from the repository's root; hours on two cores)

Every stage is a command of editmill that goes on where it was stopped; stop this at any time, start it
again. First two editors alike, one from pairs that passed the gates and a rival from as many pairs of the
same triplets that no gate has looked at. Then the editor that ships: the first, trained further twice, on
those pairs and ever more of other triplets, fewer of each.

DIR/triplets.jsonl          of the world, none with a held-out caption, more than are needed
DIR/pairs, rival-pairs      sealed runs: what passed the gates; as many of which all is kept
DIR/fit, rival-fit          trainings: sheets, progress, editor
DIR/more-triplets.jsonl     by another seed
DIR/more-pairs              what passed of those
DIR/all-pairs, all-pairs-2  folders of both runs' pairs, each once, when there were so many
DIR/first, first-two        an editor's UNet with the rest of the miniature, so that latents serve
DIR/second, third           trainings from there, on all pairs
DIR/gated-, rival-, editor  what the first two trainings and the last made, in half precision
DIR/...-judged, judged      evaluations on 300 held-out scenes

python benchmarks/editors.py --work DIR --further      trains the editor that stands here further

DIR/further-triplets.jsonl  more of the kinds of which the gates let fewest pass
DIR/further-pairs           what passed of those
DIR/both-ways               a folder of them, and of each the other way round
DIR/shipped, further        what it begins with, and comes to
DIR/averaged                the mean of both
DIR/editor, judged          as above
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from factory.dataset.dataset import Dataset  # noqa: E402
from factory.engine.checkpoint.load import load_text_to_image  # noqa: E402
from factory.ledger.manifest import sealed_data_uris  # noqa: E402
from factory.ledger.run import open_run  # noqa: E402
from factory.miniature import world  # noqa: E402
from factory.models.find import MINIATURE  # noqa: E402
from factory.models.pin import pin_text_to_image  # noqa: E402
from factory.storage.open import open_store  # noqa: E402
from schemas.recipe import ModelSource  # noqa: E402
from schemas.triplet import Triplet  # noqa: E402
from trainer.learning.editor import write_editor  # noqa: E402

Plan = tuple[str, int, int]
"""Triplets: their file, how many, the seed."""
PLAN: Plan = ("triplets.jsonl", 2000, 303)
MORE_PLAN: Plan = ("more-triplets.jsonl", 7000, 404)
PAIRS = 3000
"""A run ends when it has so many pairs."""
MORE = ("recipe.candidates=3", "recipe.unit_triplets=8")
"""Fewer candidates of each triplet than the preset's 8: more triplets for the same arithmetic."""
FURTHER_PLAN: Plan = ("further-triplets.jsonl", 4800, 505)
FURTHER_PAIRS = 2500
"""Some 40 minutes of two cores with fast bfloat16."""
FURTHER_LAW = ("law.steps=6000", "law.cool_down=0.7")
SHARES = {"colour": 0.6, "shape": 0.6, "size": 1.0, "background": 0.8, "style": 0.35}
"""Of an edit kind's triplets, those that the further training takes. Of 100 triplets of three candidates
each 55 have a pair where the colour changes, 54 the shape, 46 the background, 82 the style, 23 the size."""
UNGATED = {"image": -1, "text": -1, "direction": -1, "borderline": 0.001}


@dataclass(frozen=True)
class Machine:
    """What all of it runs on."""

    cores: int
    """Workers, and threads of trainings."""
    dtype: str
    """Of generating and training."""


@dataclass(frozen=True, kw_only=True)
class Later:
    """A training that goes on from the editor of the one before."""

    name: str
    before: str
    start: str
    """Folder of what it begins with."""
    more_pairs: int
    """Of the second run, beside the first's."""
    pairs: str
    """Folder of all of them."""
    law: tuple[str, ...]


LATER = (
    Later(
        name="second", before="fit", start="first", more_pairs=2500, pairs="all-pairs",
        law=("law.steps=9000", "law.cool_down=0.7"),
    ),
    Later(
        name="third", before="second", start="first-two", more_pairs=5000, pairs="all-pairs-2",
        law=("law.steps=5000", "law.cool_down=0.7"),
    ),
)  # fmt: skip
LAST = LATER[-1]
EDITS = 300
JUDGED = {"gated": "fit", "rival": "rival-fit"}
"""Editors that are compared, and their trainings."""


def write_triplets(
    file: Path, count: int, seed: int, shares: Mapping[str, float] = MappingProxyType({})
) -> None:
    """Triplets of the world in which no held-out caption stands, once; of a kind only its share, if any."""
    if file.exists():
        return
    held_out, rng = set(world.held_out_captions()), random.Random(seed)
    free = (
        line
        for line in world.triplets(2 * count, seed)
        if line["input"] not in held_out
        and line["output"] not in held_out
        and rng.random() < shares.get(line["edit_kind"], 1)
    )
    half = file.with_name(f"{file.name}.half")
    half.write_text("".join(json.dumps(line) + "\n" for line in islice(free, count)))
    half.replace(file)


def generate(work: Path, plan: Plan, name: str, machine: Machine, *settings: str) -> None:
    """A run of the triplets; it goes on where it stands."""
    triplets, count, seed = plan
    write_triplets(work / triplets, count, seed)
    of = ["--preset", "miniature", "--triplets", str(work / triplets)]
    wide = (f"compute.min_workers={machine.cores}", f"compute.max_workers={machine.cores}")
    more = _set(f"recipe.dtype={machine.dtype}", "compute.threads=1", *wide, *settings)
    run(["generate", *of, "--out", str(work / name), *more])


def train(dataset: Path, out: Path, machine: Machine, *settings: str) -> None:
    """Latents, once, and a training."""
    own = (f"compute.threads={machine.cores}", f"law.dtype={machine.dtype}")
    preset = ["--preset", "miniature-editor", *_set(*own, *settings)]
    of = [*_set("compute.where=here"), "--dataset", str(dataset)]
    run(["encode", *preset, *of, "--out", str(dataset / "latents")])
    run(["fit", *preset, *of, "--out", str(out)])


def evaluate(fit: Path, editor: Path, judged: Path, machine: Machine) -> None:
    """The oracle's word on what a training made, in half precision; of other files it is asked anew."""
    halve(fit / "editor", editor)
    pinned, _ = pin_text_to_image(ModelSource(source=str(editor)), None, world.SIDE_PX, "editor")
    report = judged / "evaluation.json"
    if report.exists() and json.loads(report.read_bytes())["files"] == pinned.files:
        return
    if report.exists():
        # Of other files, with which it would not go on.
        shutil.rmtree(judged)
    preset = ["--preset", "miniature-editor", *_set(f"compute.threads={machine.cores}")]
    of = ["--editor", str(editor), "--edits", str(EDITS)]
    run(["evaluate", *preset, *of, "--out", str(judged)])


def with_unet(unet: Path, folder: Path) -> None:
    """The miniature with another UNet."""
    if folder.exists():
        return
    half = folder.with_name(f"{folder.name}-half")
    shutil.copytree(MINIATURE / "text_to_image", half, dirs_exist_ok=True)
    shutil.copytree(unet, half / "unet", dirs_exist_ok=True)
    half.rename(folder)


def join_pairs(folder: Path, *runs: Path) -> None:
    """The sealed pairs of several runs as one folder; a candidate that both have made stands there once."""
    if folder.exists():
        return
    half = folder.with_name(f"{folder.name}-half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    seen: set[tuple[str, int]] = set()
    tables = []
    for each in runs:
        for uri in sealed_data_uris(open_run(open_store(str(each)))):
            table = pq.read_table(uri)
            names = [(row["triplet_id"], row["index"]) for row in table.select(NAME).to_pylist()]
            tables.append(table.filter(pa.array([name not in seen for name in names])))
            seen.update(names)
    joined = pa.concat_tables(tables)
    for start in range(0, len(joined), ROWS):
        pq.write_table(joined.slice(start, ROWS), half / f"{start:06d}.parquet")
    half.rename(folder)


UNET = "diffusion_pytorch_model.safetensors"
NAME = ["triplet_id", "index"]
ROWS = 500
"""In a file: encoding has its costs for each."""


def both_ways(folder: Path, run: Path) -> None:
    """A run's pairs as a folder, and each once more from its edited picture back, as HQ-Edit does by its
    inverse instructions (arXiv:2404.09990). The gates measure both directions alike, so these have passed.
    """
    if folder.exists():
        return
    half = folder.with_name(f"{folder.name}-half")
    shutil.rmtree(half, ignore_errors=True)
    join_pairs(half, run)
    for file in sorted(half.glob("*.parquet")):
        table = pq.read_table(file)
        pq.write_table(back(table), file.with_name(f"back-{file.name}"))
    half.rename(folder)


def back(pairs: pa.Table) -> pa.Table:
    """The same pairs, asked for the other way round in the world's words."""
    for before, after in SWAPPED:
        first, second = pairs[before], pairs[after]
        pairs = _put(_put(pairs, before, second), after, first)
    rows = pairs.select(["original_prompt", "edited_prompt", "edit_kind", "triplet_id"]).to_pylist()
    asked = [
        Triplet(
            original_prompt=row["original_prompt"],
            edit_prompt=world.instruction(
                row["edit_kind"],
                world.parse_caption(row["original_prompt"]),
                world.parse_caption(row["edited_prompt"]),
                random.Random(row["triplet_id"]),
            ),
            edited_prompt=row["edited_prompt"],
        )
        for row in rows
    ]
    pairs = _put(pairs, "edit_prompt", pa.array([each.edit_prompt for each in asked]))
    return _put(pairs, "triplet_id", pa.array([each.triplet_id for each in asked]))


SWAPPED = (
    ("original_prompt", "edited_prompt"),
    ("original_image", "edited_image"),
    ("clip_sim_0", "clip_sim_1"),
)


def _put(table: pa.Table, name: str, column: Any) -> pa.Table:
    """A column's values in place of the ones there."""
    field = table.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, column.cast(field.type))


def halve(editor: Path, folder: Path) -> None:
    """An editor's folder with float16 weights."""
    parts = load_text_to_image(ModelSource(source=str(editor)), None, torch.float16)
    write_editor(folder, parts.unet, parts.autoencoder, parts.text, parts.scheduler)


def _set(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def run(command: list[str]) -> None:
    """A command of editmill; ends this program with its code where it did not end well."""
    print("editmill", " ".join(command), file=sys.stderr, flush=True)
    code = subprocess.run(
        [sys.executable, "-m", "editmill", *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    ).returncode
    if code:
        sys.exit(code)


def make_further_pairs(work: Path, machine: Machine) -> Path:
    """Pairs of more triplets, each also the other way round; their folder."""
    triplets, count, seed = FURTHER_PLAN
    write_triplets(work / triplets, count, seed, SHARES)
    target = f"budget.target_pairs={FURTHER_PAIRS}"
    generate(work, FURTHER_PLAN, "further-pairs", machine, *MORE, target)
    both_ways(work / "both-ways", work / "further-pairs")
    return work / "both-ways"


def further(work: Path, machine: Machine) -> None:
    """The editor that stands here, trained on pairs of triplets that it has not seen."""
    pairs = make_further_pairs(work, machine)
    with_unet(MINIATURE / "editor" / "unet", work / "shipped")
    source = f"law.model.source={work / 'shipped'}"
    train(pairs, work / "further", machine, *FURTHER_LAW, source)
    average(work / "shipped", work / "further", work / "averaged")
    evaluate(work / "averaged", work / "editor", work / "judged", machine)
    found = {"pairs_further": counts(work, "further-pairs")["pairs"]}
    print(json.dumps(found | evaluation(work / "judged"), indent=1))


def average(start: Path, trained: Path, folder: Path) -> None:
    """A training's result whose UNet is the mean of the one that it began with and the one that it came to,
    which keeps what each knows (arXiv:2109.01903).
    """
    shutil.copytree(trained / "editor", folder / "editor", dirs_exist_ok=True)
    first, second = (load_file(where / "unet" / UNET) for where in (start, trained / "editor"))
    mean = {name: (first[name].float() + second[name].float()) / 2 for name in second}
    save_file(mean, folder / "editor" / "unet" / UNET, metadata={"format": "pt"})


def counts(work: Path, name: str) -> dict[str, int]:
    """Pairs, and triplets that have one, of a run or of all."""
    pairs = Dataset.open(str(work / name))
    return {"pairs": len(pairs), "triplets": len(pairs.prompts)}


def figures(work: Path) -> dict[str, Any]:
    """What was found, under the names that the design gives them; those of the two editors that were
    trained alike are named `_gated` and `_unfiltered`.
    """
    judged = evaluation(work / "judged")
    names = ("edit_accuracy", "edit_accuracy_95", "identity_share", "kept_rest")
    found = {name: judged[name] for name in (*names, "edit_accuracy_by_kind", "edits", "sampler")}
    for kind, prefix, pairs in (
        ("gated", "gated", "pairs"),
        ("unfiltered", "rival", "rival-pairs"),
    ):
        other = evaluation(work / f"{prefix}-judged")
        found |= {f"{name}_{kind}": other[name] for name in names}
        found |= {f"{name}_{kind}": count for name, count in counts(work, pairs).items()}
    return found | counts(work, LAST.pairs)


def evaluation(folder: Path) -> dict[str, Any]:
    """What `evaluate` found."""
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_bytes())
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="resumable state and results")
    parser.add_argument("--cores", type=int, default=2, help="workers, and threads of trainings")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 takes half the time where the processor has AMX, ten times as long elsewhere; as "
        "many pairs pass",
    )
    parser.add_argument("--further", action="store_true", help="from the editor that stands here")
    given = parser.parse_args()
    work, machine = given.work, Machine(given.cores, given.dtype)
    work.mkdir(parents=True, exist_ok=True)
    if given.further:
        further(work, machine)
        return
    generate(work, PLAN, "pairs", machine, f"budget.target_pairs={PAIRS}")
    train(work / "pairs", work / "fit", machine)
    pairs = counts(work, "pairs")["pairs"]
    ungated = (
        f"recipe.candidates={-(-pairs // PLAN[1])}",
        f"recipe.thresholds={json.dumps(UNGATED)}",
        f"budget.target_pairs={pairs}",
    )
    generate(work, PLAN, "rival-pairs", machine, *ungated)
    train(work / "rival-pairs", work / "rival-fit", machine)
    for name, fit in JUDGED.items():
        evaluate(work / fit, work / f"{name}-editor", work / f"{name}-judged", machine)
    for later in LATER:
        target = f"budget.target_pairs={later.more_pairs}"
        generate(work, MORE_PLAN, "more-pairs", machine, *MORE, target)
        join_pairs(work / later.pairs, work / "pairs", work / "more-pairs")
        with_unet(work / later.before / "editor" / "unet", work / later.start)
        source = f"law.model.source={work / later.start}"
        train(work / later.pairs, work / later.name, machine, *later.law, source)
    evaluate(work / LAST.name, work / "editor", work / "judged", machine)
    print(json.dumps(figures(work), indent=1))


if __name__ == "__main__":
    main()
