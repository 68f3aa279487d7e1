"""Ship what benchmarks/editors.py made: the editor's weights with their card, the sheet of its edits.

python benchmarks/editor_card.py --work DIR      (from the repository's root)
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.editors import LAST, LATER, counts, evaluation  # noqa: E402
from factory.models.find import MINIATURE  # noqa: E402

LEAST, MOST = {"edit_accuracy": 0.70}, {"identity_share": 0.05}
LAW = ("steps", "batch", "learning_rate", "cool_down", "ema_decay", "seed")
TRAININGS = ("fit", *(later.name for later in LATER))
OF_THE_FILES = ("sampler", "oracle_version", "files")


def card(work: Path) -> dict[str, Any]:
    """What is claimed of the editor, with the files it is claimed of."""
    judged = evaluation(work / "judged")
    found = {k: v for k, v in judged.items() if k not in OF_THE_FILES}
    good = all(found[name] >= bar for name, bar in LEAST.items())
    good = good and all(found[name] <= bar for name, bar in MOST.items())
    return {
        "state": "trained" if good else "half-trained",
        "figures": found | counts(work, LAST.pairs),
        "bars": {"at_least": LEAST, "at_most": MOST},
        "training": [cycle(work / name) for name in TRAININGS],
        "data": "accepted pairs of two runs of `generate` on triplets of the world; 200 captions held out",
        **{name: judged[name] for name in OF_THE_FILES},
    }


def cycle(training: Path) -> dict[str, Any]:
    """What of its law matters, and how long it took."""
    law = json.loads((training / "FIT.json").read_bytes())["law"]
    return {name: law[name] for name in LAW} | {"seconds": round(seconds(training, law["batch"]))}


def seconds(training: Path, batch: int) -> float:
    """What the steps took, by the lines of its progress; a speed is that of all steps since the last."""
    took, last = 0.0, 0
    lines = {}
    for file in sorted((training / "progress").iterdir()):
        for line in map(json.loads, file.read_text().splitlines()):
            if "images_per_s" in line:
                lines[line["step"]] = line["images_per_s"]
    for step, speed in sorted(lines.items()):
        took += (step - last) * batch / speed
        last = step
    return took


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="of benchmarks/editors.py")
    work: Path = parser.parse_args().work
    claims = card(work)
    shutil.copytree(work / "editor", MINIATURE / "editor", dirs_exist_ok=True)
    (MINIATURE / "editor_card.json").write_text(json.dumps(claims, indent=1) + "\n")
    shutil.copyfile(work / "judged" / "sheet.png", ROOT / "docs" / "miniature" / "edits.png")
    print(json.dumps(claims["figures"], indent=1))


if __name__ == "__main__":
    main()
