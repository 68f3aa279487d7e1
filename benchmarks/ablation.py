"""The paper's ablation of the data's size on the miniature: an editor of all pairs, one of a tenth of them.

python benchmarks/ablation.py --work DIR                  (from the repository's root; hours on two cores)
python benchmarks/ablation.py --work DIR --only tenth     (this training alone; once latents are there)

Both are trained alike from the text-to-image network; goes on where it was stopped.

DIR/further-triplets.jsonl, further-pairs, both-ways    pairs, as `benchmarks/editors.py --further` has them
DIR/all-fit, tenth-fit      trainings
DIR/all, tenth              editors in half precision
DIR/ablation.yaml, curves   their curves over the guidance of the text, on scenes that chose no setting
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.editors import (  # noqa: E402
    Machine,
    counts,
    halve,
    make_further_pairs,
    train,
)
from benchmarks.edits import compared, evaluated  # noqa: E402
from benchmarks.record import machine, replace_results  # noqa: E402

TENTH = 0.9
"""Share of the prompts that the smaller training never reads."""
EDITORS = {"all": (), "tenth": (f"reading.held_out={TENTH}",)}
"""And what their trainings are told besides."""
STEPS = 4000
TEXT_GUIDANCE = (0.5, 1.0, 1.5, 2.5)
"""The curve over s_I, which the paper draws, is nearly flat on the miniature (docs/evaluation.md)."""
IMAGE_GUIDANCE = 1.5
EDITS = 200


def make_editor(work: Path, pairs: Path, name: str, on: Machine) -> None:
    """One of `EDITORS`."""
    train(pairs, work / f"{name}-fit", on, f"law.steps={STEPS}", *EDITORS[name])
    halve(work / f"{name}-fit" / "editor", work / name)


def curves(work: Path, count: int) -> dict[str, Any]:
    """Both curves; which lies above which, and both points at the preset's guidance."""
    sweep = {"base": "miniature", "recipe": {"entrants": [entrant(work, name) for name in EDITORS]}}
    file = work / "ablation.yaml"
    file.write_text(json.dumps(sweep))
    return evaluated(str(work / "curves"), count, str(file))


def entrant(work: Path, name: str) -> dict[str, Any]:
    """An editor as `evaluate` takes it."""
    ip2p = {
        "model": {"source": str(work / name)},
        "dtype": "float32",
        "solver": "euler_ancestral",
        "steps": 24,
        "image_guidance": IMAGE_GUIDANCE,
    }
    return {
        "name": name,
        "edits": {"editor": "ip2p", "ip2p": ip2p, "size_px": 64, "output": {"size": "model"}},
        "sweep": {"parameter": "text_guidance", "values": list(TEXT_GUIDANCE)},
    }


def figures(work: Path, report: dict[str, Any]) -> dict[str, Any]:
    """For the results: how many pairs all are, and what each editor does at the preset's guidance."""
    above = compared(report, "above", *EDITORS)
    found: dict[str, Any] = {
        "ablation_above_tenth": above["above"],
        "ablation_from": above["from"],
        "ablation_to": above["to"],
        "ablation_least_margin": above["least_margin"],
        "ablation_pictures": above["pictures"],
        "ablation_data": counts(work, "both-ways"),
        "ablation_steps": STEPS,
    }
    for point in report["points"]:
        if point["setting"]["text_guidance"] == 1.5:
            of = {name: point[name] for name in ("true", "rest_kept", "unreadable", "clip_sim_dir")}
            found[f"ablation_{point['entrant']}"] = of
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="resumable state and results")
    parser.add_argument(
        "--only", choices=EDITORS, help="make the pairs, train this one, and no more"
    )
    parser.add_argument("--cores", type=int, default=2, help="workers, and threads of trainings")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of pairs and trainings"
    )
    parser.add_argument("--edits", type=int, default=EDITS)
    parser.add_argument("--dry", action="store_true", help="write no result")
    given = parser.parse_args()
    work, on, where = given.work, Machine(given.cores, given.dtype), machine()
    work.mkdir(parents=True, exist_ok=True)
    pairs = make_further_pairs(work, on)
    for name in EDITORS if given.only is None else (given.only,):
        make_editor(work, pairs, name, on)
    if given.only:
        return
    found = figures(work, curves(work, given.edits))
    print(json.dumps(found, indent=1))
    if not given.dry:
        replace_results("edits", "ablation", found, where)


if __name__ == "__main__":
    main()
