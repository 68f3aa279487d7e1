"""How much memory the driver of a run of edits has held, by how many pictures there are.

python benchmarks/edits_memory.py plan FOLDER COUNT   a list of so many is read and planned
python benchmarks/edits_memory.py run FOLDER COUNT    so many in a folder, from listing to seal on Ray

Prints MiB. The editor of the second turns colours round: what a model holds is its worker's, not the
driver's.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"

from benchmarks.memory import peak_mib  # noqa: E402
from factory.console.config import EDIT_PRESETS, read_config  # noqa: E402
from factory.edits.edit import EditMaker, edit_stage  # noqa: E402
from factory.edits.items import distinct, on_disk  # noqa: E402
from factory.edits.listing import Listed, Wish, canonical, item_of, list_images  # noqa: E402
from factory.edits.prepare import prepare  # noqa: E402
from factory.ledger.run import Run  # noqa: E402
from factory.on_ray.units import run_on_ray  # noqa: E402
from factory.work.job import run_job  # noqa: E402
from schemas.edits import EditCompute, Edits  # noqa: E402
from tests.factory.edits.pictures import Inverting, file, picture  # noqa: E402

WISH = "make it look like a photograph taken at night"


def settings(folder: Path) -> Edits:
    given = ["recipe.unit_images=8", "compute.threads=1", "compute.min_workers=2"]
    config = read_config(
        Edits, EDIT_PRESETS, "miniature", settings=[*given, "compute.max_workers=2"]
    )
    recipe = config.recipe.model_copy(update={"images": canonical(str(folder / "in"))})
    return config.model_copy(update={"recipe": recipe})


def plan(folder: Path, count: int) -> None:
    """A list of names, none of which is read."""
    config = settings(folder)
    names = {"image": "", "instruction": WISH}
    items = on_disk(
        item_of(config.recipe, names | {"image": f"some/folder/{number:09d}.jpg"})
        for number in range(count)
    )
    found, duplicates = distinct(items)
    prepare(config, str(folder / "out"), lambda: Listed(found, duplicates))


def run(folder: Path, count: int) -> None:
    """One picture under so many names."""
    places = folder / "in"
    places.mkdir()
    (folder / "one.png").write_bytes(file(picture(0, (16, 16))))
    for number in range(count):
        # A file takes 60,000 names at most.
        first = folder / f"one-{number // 50_000}.png"
        if not first.exists():
            first.write_bytes((folder / "one.png").read_bytes())
        os.link(first, places / f"{number:09d}.png")
    config = settings(folder)
    listed = partial(list_images, config.recipe, Wish(instruction=WISH))
    opened, planned, _ = prepare(config, str(folder / "out"), listed)
    stage = edit_stage(load_inverting)
    result = run_job(stage, opened, planned, config, run_on_ray(stage))
    assert result.exit_code == 0, result.message
    with os.scandir(folder / "out") as there:
        assert sum(one.name.endswith(".png") for one in there) == count


def load_inverting(opened: Run, compute: EditCompute) -> EditMaker:
    """What a worker makes edits with."""
    return EditMaker(opened, compute, Inverting())


WAYS: dict[str, Callable[[Path, int], None]] = {"plan": plan, "run": run}

if __name__ == "__main__":
    way, where, many = sys.argv[1:]
    WAYS[way](Path(where), int(many))
    print(peak_mib())
