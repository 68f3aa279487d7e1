"""The miniature's editor, what gates are worth to one, and the oracle's word on both.

python benchmarks/editors.py --work DIR      (from the repository's root; hours on two cores)

Every stage is a command of editmill that goes on where it was stopped; stop this at any time, start it
again. First two editors alike, one from pairs that passed the gates and a rival from as many pairs of the
same triplets that no gate has looked at. Then the editor that ships: the first, trained further on those
pairs and on more, of triplets of their own, fewer of each.

DIR/triplets.jsonl          of the world, none with a held-out caption, more than are needed
DIR/pairs, rival-pairs      sealed runs: what passed the gates; as many of which all is kept
DIR/fit, rival-fit          trainings: sheets, progress, editor
DIR/more-triplets.jsonl     others
DIR/more-pairs, all-pairs   what passed of those; links to the files of this run and of the first
DIR/first                   the first editor's UNet with the rest of the miniature, so that latents serve
DIR/fit-2                   the second cycle, from there
DIR/gated-, rival-, editor  what the three trainings made, in half precision
DIR/...-judged, judged      evaluations on 300 held-out scenes
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from factory.engine.checkpoint import load_text_to_image  # noqa: E402
from factory.miniature import world  # noqa: E402
from factory.model_files import MINIATURE  # noqa: E402
from schemas.recipe import ModelSource  # noqa: E402
from trainer.editor import write_editor  # noqa: E402

TRIPLETS, PAIRS, SEED = 2000, 3000, 303
"""A run of the triplets ends when it has so many pairs."""
MORE_TRIPLETS, MORE_PAIRS, MORE_SEED = 7000, 3000, 404
MORE = ("recipe.candidates=3", "recipe.unit_triplets=8")
"""Fewer candidates of each triplet than the preset's 8: more triplets for the same arithmetic."""
UNGATED = {"image": -1, "text": -1, "direction": -1, "borderline": 0.001}
SECOND = ("law.steps=10000", "law.learning_rate=0.0007", "law.cool_down=1.0")
"""What the second cycle's law has of its own."""
EDITS = 300


def write_triplets(file: Path, count: int, seed: int) -> None:
    """Triplets of the world in which no held-out caption stands."""
    held_out = set(world.held_out_captions())
    free = (
        line
        for line in world.triplets(2 * count, seed)
        if line["input"] not in held_out and line["output"] not in held_out
    )
    file.write_text("".join(json.dumps(line) + "\n" for line in islice(free, count)))


def generate(work: Path, triplets: str, name: str, workers: int, *settings: str) -> None:
    """A run of the triplets; it goes on where it stands."""
    file = work / triplets
    if not file.exists():
        more = triplets.startswith("more")
        counts = (MORE_TRIPLETS, MORE_SEED) if more else (TRIPLETS, SEED)
        write_triplets(file, *counts)
    of = ["--preset", "miniature", "--triplets", str(file)]
    wide = (f"compute.min_workers={workers}", f"compute.max_workers={workers}")
    # Half the arithmetic of float32, and as many pairs pass.
    more = _set("recipe.dtype=bfloat16", "compute.threads=1", *wide, *settings)
    run(["generate", *of, "--out", str(work / name), *more])


def train(dataset: Path, out: Path, threads: int, *settings: str) -> None:
    """Latents, once, and a training."""
    preset = ["--preset", "miniature-editor", *_set(f"compute.threads={threads}", *settings)]
    of = [*_set("compute.where=here"), "--dataset", str(dataset)]
    run(["encode", *preset, *of, "--out", str(dataset / "latents")])
    run(["fit", *preset, *of, "--out", str(out)])


def evaluate(fit: Path, editor: Path, judged: Path, threads: int) -> None:
    """The oracle's word on what a training made, in half precision."""
    if (judged / "evaluation.json").exists():
        return
    halve(fit / "editor", editor)
    preset = ["--preset", "miniature-editor", *_set(f"compute.threads={threads}")]
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


def link_pairs(folder: Path, *runs: Path) -> None:
    """One dataset of the pairs of several runs."""
    folder.mkdir(exist_ok=True)
    for each in runs:
        for file in each.glob("pairs/*.parquet"):
            link = folder / f"{each.name}-{file.name}"
            if not link.exists():
                link.hardlink_to(file)


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


def counts(work: Path, name: str) -> dict[str, int]:
    """Accepted pairs of a run, and triplets that were tried for them."""
    done = subprocess.run(
        [sys.executable, "-m", "editmill", "status", str(work / name), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    status = json.loads(done.stdout)
    tried = status["triplets"] * status["committed_units"] // status["units"]
    return {"pairs": int(status["counts"]["accepted"]), "triplets": tried}


def figures(work: Path) -> dict[str, Any]:
    """What was found, under the names that the design gives them; the rival's peer is named `_filtered`."""
    judged = _evaluation(work / "judged")
    names = ("edit_accuracy", "edit_accuracy_95", "identity_share", "kept_rest")
    both = {
        f"{name}_{kind}": _evaluation(work / f"{prefix}judged")[name]
        for kind, prefix in (("filtered", "gated-"), ("unfiltered", "rival-"))
        for name in names
    }
    runs = {kind: counts(work, f"{prefix}pairs") for kind, prefix in RUNS.items()}
    return {
        **{name: judged[name] for name in (*names, "edit_accuracy_by_kind", "edits", "sampler")},
        **both,
        **{f"{name}_{kind}": count for kind, run in runs.items() for name, count in run.items()},
        "pairs": runs["filtered"]["pairs"] + runs["more"]["pairs"],
        "triplets": runs["filtered"]["triplets"] + runs["more"]["triplets"],
    }


RUNS = {"filtered": "", "unfiltered": "rival-", "more": "more-"}


def _evaluation(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_bytes())
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="resumable state and results")
    parser.add_argument("--cores", type=int, default=2, help="workers, and threads of trainings")
    given = parser.parse_args()
    work, cores = given.work, given.cores
    work.mkdir(parents=True, exist_ok=True)
    generate(work, "triplets.jsonl", "pairs", cores, f"budget.target_pairs={PAIRS}")
    train(work / "pairs", work / "fit", cores)
    pairs = counts(work, "pairs")["pairs"]
    ungated = (
        f"recipe.candidates={-(-pairs // TRIPLETS)}",
        f"recipe.thresholds={json.dumps(UNGATED)}",
        f"budget.target_pairs={pairs}",
    )
    generate(work, "triplets.jsonl", "rival-pairs", cores, *ungated)
    train(work / "rival-pairs", work / "rival-fit", cores)
    for name, fit in {"gated": "fit", "rival": "rival-fit"}.items():
        evaluate(work / fit, work / f"{name}-editor", work / f"{name}-judged", cores)
    target = f"budget.target_pairs={MORE_PAIRS}"
    generate(work, "more-triplets.jsonl", "more-pairs", cores, *MORE, target)
    link_pairs(work / "all-pairs", work / "pairs", work / "more-pairs")
    with_unet(work / "fit" / "editor" / "unet", work / "first")
    source = f"law.model.source={work / 'first'}"
    train(work / "all-pairs", work / "fit-2", cores, *SECOND, source)
    evaluate(work / "fit-2", work / "editor", work / "judged", cores)
    print(json.dumps(figures(work), indent=1))


if __name__ == "__main__":
    main()
