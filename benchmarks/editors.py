"""The miniature's editor and its rival: their pairs, their trainings, the oracle's word on both.

python benchmarks/editors.py --work DIR      (from the repository's root; hours on two cores)

Every stage is a command of editmill that goes on where it was stopped; stop this at any time, start it
again. The rival is trained alike, on as many pairs of the same triplets that no gate has looked at.
`python benchmarks/trainer.py --work DIR` measures both; the editor that ships is DIR/editor.

DIR/triplets.jsonl          of the world, none with a held-out caption, more than are needed
DIR/pairs, rival-pairs      sealed runs: what passed the gates; as many of which all is kept
DIR/fit, rival-fit          trainings: sheets, progress, editor
DIR/first, rival-first      their UNets with the rest of the miniature, so that latents serve on
DIR/fit-2, rival-fit-2      a second cycle from there
DIR/editor, rival-editor    what it made, in half precision
DIR/judged, rival-judged    evaluations on 300 held-out scenes
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
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

TRIPLETS = 2000
PAIRS = 3000
"""A run of the triplets ends when it has so many."""
SEED = 303
"""Of the triplets; those that gates were chosen and reported on have others."""
EDITS = 300
SECOND = ("law.steps=8000", "law.learning_rate=0.0007", "law.cool_down=1.0")
"""What the second cycle's law has of its own."""
UNGATED = {"image": -1, "text": -1, "direction": -1, "borderline": 0.001}


def held_in_triplets(count: int) -> Iterator[dict[str, str]]:
    """Triplets of the world in which no held-out caption stands."""
    held_out = set(world.held_out_captions())
    found = 0
    for line in world.triplets(2 * count, SEED):
        if line["input"] not in held_out and line["output"] not in held_out:
            yield line
            found += 1
        if found == count:
            return


def generate(work: Path, name: str, workers: int, *settings: str) -> None:
    """A run of the triplets; it goes on where it stands."""
    of = ["--preset", "miniature", "--triplets", str(work / "triplets.jsonl")]
    wide = (f"compute.min_workers={workers}", f"compute.max_workers={workers}")
    # Half the arithmetic of float32, and as many pairs pass.
    more = _set("recipe.dtype=bfloat16", "compute.threads=1", *wide, *settings)
    run(["generate", *of, "--out", str(work / name), *more])


def train(work: Path, prefix: str, threads: int) -> None:
    """Latents, training and judgement of one editor."""
    dataset, root = work / f"{prefix}pairs", work / f"{prefix}fit"
    preset = ["--preset", "miniature-editor", *_set(f"compute.threads={threads}")]
    alone = _set("compute.where=here")
    run(["encode", *preset, *alone, "--dataset", str(dataset), "--out", str(dataset / "latents")])
    fit = ["fit", *preset, *alone, "--dataset", str(dataset)]
    first, second = work / f"{prefix}first", work / f"{prefix}fit-2"
    run([*fit, "--out", str(root)])
    if not first.exists():
        with_unet(root / "editor" / "unet", first)
    run([*fit, *_set(*SECOND, f"law.model.source={first}"), "--out", str(second)])
    judged, halved = work / f"{prefix}judged", work / f"{prefix}editor"
    halve(second / "editor", halved)
    if not (judged / "evaluation.json").exists():
        editor = ["--editor", str(halved), "--edits", str(EDITS)]
        run(["evaluate", *preset, *editor, "--out", str(judged)])


def with_unet(unet: Path, folder: Path) -> None:
    """The miniature with another UNet."""
    half = folder.with_name(f"{folder.name}-half")
    shutil.copytree(MINIATURE / "text_to_image", half, dirs_exist_ok=True)
    shutil.copytree(unet, half / "unet", dirs_exist_ok=True)
    half.rename(folder)


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
    """What was found, under the names that the design gives them."""
    judged, rival = (
        json.loads((work / name / "evaluation.json").read_bytes())
        for name in ("judged", "rival-judged")
    )
    return {
        "edit_accuracy": judged["edit_accuracy"],
        "edit_accuracy_95": judged["edit_accuracy_95"],
        "edit_accuracy_by_kind": judged["edit_accuracy_by_kind"],
        "identity_share": judged["identity_share"],
        "kept_rest": judged["kept_rest"],
        "edit_accuracy_unfiltered": rival["edit_accuracy"],
        "identity_share_unfiltered": rival["identity_share"],
        "kept_rest_unfiltered": rival["kept_rest"],
        "edits": judged["edits"],
        **counts(work, "pairs"),
        **{f"{name}_unfiltered": count for name, count in counts(work, "rival-pairs").items()},
        "sampler": judged["sampler"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="resumable state and results")
    parser.add_argument("--cores", type=int, default=2, help="workers, and threads of trainings")
    given = parser.parse_args()
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True)
    triplets = work / "triplets.jsonl"
    if not triplets.exists():
        lines = [json.dumps(line) + "\n" for line in held_in_triplets(TRIPLETS)]
        triplets.write_text("".join(lines))
    generate(work, "pairs", given.cores, f"budget.target_pairs={PAIRS}")
    train(work, "", given.cores)
    pairs = counts(work, "pairs")["pairs"]
    generate(
        work,
        "rival-pairs",
        given.cores,
        f"recipe.candidates={-(-pairs // TRIPLETS)}",
        f"recipe.thresholds={json.dumps(UNGATED)}",
        f"budget.target_pairs={pairs}",
    )
    train(work, "rival-", given.cores)
    print(json.dumps(figures(work), indent=1))


if __name__ == "__main__":
    main()
