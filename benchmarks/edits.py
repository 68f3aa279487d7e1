"""Bulk edits beside a plain loop over diffusers' pipeline, and while their workers are killed.

python benchmarks/edits.py                     (from the repository's root; Ceph comes from apt)
python benchmarks/edits.py --only kills        (these figures alone; the others of the result stay)
python benchmarks/edits.py --only mixed        (12 minutes; pictures of several sizes)
python benchmarks/edits.py --only above --work DIR    (70 minutes; goes on in DIR where it was stopped)
python benchmarks/edits.py --only places --work DIR   (an hour and a half of a core; the same)
python benchmarks/edits.py --tiny --dry        (a small run on the emulator; writes nothing)

Both edit the same pictures by the shipped editor at 64 px, two cores, against one S3 server, every request
of which takes 100 ms longer than the server needs. The loop is what its user would write: a picture is
fetched, edited and stored before the next one is.
"""

import argparse
import asyncio
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import diffusers  # noqa: E402
import psutil  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import ray  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from benchmarks.record import machine, replace_results, write_results  # noqa: E402
from factory.console.config import EDIT_PRESETS, read_config  # noqa: E402
from factory.edits.edit import EditMaker, edit_stage  # noqa: E402
from factory.edits.editors.engine_editor import EngineEditor  # noqa: E402
from factory.edits.listing import canonical, read_requests  # noqa: E402
from factory.edits.prepare import prepare  # noqa: E402
from factory.edits.sizes import edit_size  # noqa: E402
from factory.edits.studio import Studio  # noqa: E402
from factory.ledger.manifest import sealed_object_uris  # noqa: E402
from factory.ledger.run import Run  # noqa: E402
from factory.miniature import world  # noqa: E402
from factory.models.find import MINIATURE  # noqa: E402
from factory.on_ray.units import run_on_ray  # noqa: E402
from factory.storage.key_rules import USERS  # noqa: E402
from factory.storage.open import open_store  # noqa: E402
from factory.work.job import JobResult, run_job  # noqa: E402
from factory.work.reports import Runner  # noqa: E402
from factory.work.stage import Stage  # noqa: E402
from schemas.edits import EditCompute, Edits  # noqa: E402
from tests.chaos.servers import BUCKET, s3_server  # noqa: E402
from tests.factory.edits.broken import BROKEN  # noqa: E402
from tests.servers.fault_proxy import FaultProxy  # noqa: E402

Sizes = Sequence[tuple[int, int]]
SQUARE = ((64, 64),)
MIXED = ((64, 64), (96, 64), (64, 96), (128, 64), (50, 64), (200, 150), (48, 90))
"""Widths and heights in turn; they are edited in four shapes."""
DELAY_S = 0.1
DELAYS = {"": DELAY_S, "_without_delay": 0.0}
STEPS = 20
MULTIPLE = 32
"""What sides are multiples of for the miniature's network."""
WORKERS = 2
FLAT = {"plan": (100_000, 1_000_000), "run": (100_000, 200_000)}
"""How many pictures, by which the driver's memory is compared: more than one file of the table holds
(`RESULT_ROWS` of factory/edits/edit.py), so that what grows with a file does not count.
"""
TINY_FLAT = {"plan": (100, 1000), "run": (10, 100)}


class SlowProxy(FaultProxy):
    """Every request takes so much longer."""

    def __init__(self, upstream: str, delay_s: float) -> None:
        super().__init__(upstream, {})
        self.delay_s = delay_s

    async def _answer(self, request: Any, writer: Any) -> bool:
        await asyncio.sleep(self.delay_s)
        return await super()._answer(request, writer)


@contextmanager
def slowly(endpoint: str, delay_s: float) -> Iterator[None]:
    """The AWS environment leads to the server by a proxy."""
    with SlowProxy(endpoint, delay_s) as proxy:
        before = os.environ["AWS_ENDPOINT_URL"]
        os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
        try:
            yield
        finally:
            os.environ["AWS_ENDPOINT_URL"] = before


def scenes(count: int, sizes: Sizes = SQUARE) -> Iterator[tuple[bytes, str]]:
    """Held-out scenes as PNG files, each with an instruction."""
    rng, captions = random.Random("benchmark of edits"), world.held_out_captions()
    for number in range(count):
        before = world.place(world.parse_caption(captions[number % len(captions)]), rng)
        kind = world.EDIT_KINDS[number % len(world.EDIT_KINDS)]
        told = world.instruction(kind, before, world.edit(before, kind, rng), rng)
        sink = io.BytesIO()
        size = sizes[number % len(sizes)]
        Image.fromarray(world.render(before)).resize(size).save(sink, "PNG")
        yield sink.getvalue(), told


def lay_out(place: str, count: int, broken: int = 0, sizes: Sizes = SQUARE) -> list[dict[str, str]]:
    """Put pictures, and objects that are none, below a place; the requests for them."""
    store, requests = open_store(place, USERS), []
    for number, (data, told) in enumerate(scenes(count, sizes)):
        requests.append({"image": f"{number:06d}.png", "instruction": told})
        store.put(requests[-1]["image"], data)
    for number in range(broken):
        one = BROKEN[number % len(BROKEN)]
        requests.append({"image": f"broken/{number:03d}-{one.key}", "instruction": "make it red"})
        store.put(requests[-1]["image"], one.data)
    random.Random(0).shuffle(requests)
    return requests


def settings(place: str, steps: int, workers: int, most_pixels: int) -> Edits:
    """The preset on as many workers of one thread as there are cores."""
    config = read_config(
        Edits, EDIT_PRESETS, "miniature",
        settings=[f"recipe.ip2p.steps={steps}", "compute.threads=1", f"compute.min_workers={workers}",
                  f"compute.max_workers={workers}", f"compute.most_pixels={most_pixels}"],
    )  # fmt: skip
    recipe = config.recipe.model_copy(update={"images": canonical(place)})
    return config.model_copy(update={"recipe": recipe})


class NotingMaker(EditMaker):
    """Notes after each unit how long its engine had nothing to do, and since when it works."""

    def __init__(self, notes: str, run: Run, compute: EditCompute) -> None:
        self.studio = Studio(run.recipe, compute)
        super().__init__(run, compute, self.studio)
        self.path = Path(notes, f"{os.getpid()}.json")
        self.begun = time.monotonic()

    def make(self, unit: int, items: Any) -> Any:
        made = super().make(unit, items)
        editor = self.studio.editor("ip2p")
        assert isinstance(editor, EngineEditor)
        resident = editor.engine.resident
        noted = {"idle_s": resident.idle_s, "s": time.monotonic() - self.begun}
        half = self.path.with_suffix(f".{threading.get_ident()}")
        half.write_text(json.dumps(noted))
        half.replace(self.path)
        return made


def load_noting(notes: str, run: Run, compute: EditCompute) -> NotingMaker:
    return NotingMaker(notes, run, compute)


def edit_all(
    config: Edits, out: str, requests: list[dict[str, str]], notes: Path, beside: Any = None
) -> tuple[Run, JobResult, float]:
    """A whole run on Ray; the seconds of its job, workers' start included."""
    listing = notes / "requests.jsonl"
    listing.write_text("".join(json.dumps(line) + "\n" for line in requests))
    run, plan, _ = prepare(config, out, lambda: read_requests(str(listing), config.recipe))
    stage: Stage = edit_stage(partial(load_noting, str(notes)))
    runner: Runner = run_on_ray(stage)
    started = time.monotonic()
    if beside:
        beside.start()
    result = run_job(stage, run, plan, config, runner)
    return run, result, time.monotonic() - started


def plain_loop(place: str, out: str, requests: list[dict[str, str]]) -> float:
    """What one would write without us: seconds for all, the pipeline's start not counted.

    Each picture is brought to a size that the network takes, and back.
    """
    torch.set_num_threads(2)
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(
        str(MINIATURE / "editor"), dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    source, target = open_store(place, USERS), open_store(out, USERS)
    started = time.monotonic()
    for number, request in enumerate(requests):
        picture = Image.open(io.BytesIO(source.get(request["image"]))).convert("RGB")
        shown = picture.resize(edit_size(*picture.size, world.SIDE_PX, MULTIPLE))
        (edited,) = pipeline(
            request["instruction"], image=shown, num_inference_steps=STEPS, guidance_scale=1.5,
            image_guidance_scale=1.5, generator=torch.Generator().manual_seed(number),
        ).images  # fmt: skip
        sink = io.BytesIO()
        edited.resize(picture.size).save(sink, "PNG")
        target.put(request["image"], sink.getvalue())
    return time.monotonic() - started


def speed(endpoint: str, images: int, of_loop: int) -> dict[str, Any]:
    """Images a second of both, with each delay, whose name ends those of its figures."""
    figures: dict[str, Any] = {"images": images, "images_of_loop": of_loop, "steps": STEPS}
    for name, delay_s in DELAYS.items():
        figures |= side_by_side(endpoint, name, delay_s, SQUARE, images, of_loop)
    return figures


def mixed(endpoint: str, images: int, of_loop: int) -> dict[str, Any]:
    """The same of pictures of several sizes, with the delay."""
    counts = {"images_mixed": images, "images_mixed_of_loop": of_loop, "mixed_sizes": len(MIXED)}
    return counts | side_by_side(endpoint, "_mixed", DELAY_S, MIXED, images, of_loop)


def side_by_side(
    endpoint: str, name: str, delay_s: float, sizes: Sizes, images: int, of_loop: int
) -> dict[str, Any]:
    """A run and the loop over the first of its pictures, one after the other."""
    figures: dict[str, Any] = {}
    with slowly(endpoint, delay_s), tempfile.TemporaryDirectory() as folder:
        place = f"s3://{BUCKET}/speed{name}/in"
        requests = lay_out(place, images, sizes=sizes)
        notes = Path(folder)
        config = settings(place, STEPS, WORKERS, 50_000_000)
        _, result, seconds = edit_all(config, f"s3://{BUCKET}/speed{name}/out", requests, notes)
        assert result.exit_code == 0, result.message
        # Its workers reach the server by the proxy that ends here.
        ray.shutdown()
        worked = [json.loads(path.read_text()) for path in notes.glob("[0-9]*.json")]
        # Since the first edit; what comes before is Ray's start and the models'.
        busy = max(one["s"] for one in worked)
        print(f"{images} in {seconds:.1f} s", file=sys.stderr)
        looped = plain_loop(place, f"s3://{BUCKET}/speed{name}/loop", requests[:of_loop])
        print(f"the loop: {of_loop} in {looped:.1f} s", file=sys.stderr)
        ours, loop = images / seconds, of_loop / looped
        figures |= {
            f"images_per_s{name}": round(ours, 3),
            f"images_per_s{name}_once_started": round(images / busy, 3),
            f"images_per_s{name}_of_loop": round(loop, 3),
            f"over_plain_loop{name}": round(ours / loop, 3),
            f"waiting_share{name}": round(max(one["idle_s"] / one["s"] for one in worked), 4),
        }
    return figures


class Killer(threading.Thread):
    """Kills a worker of this process's Ray every so often, until it has had enough."""

    def __init__(self, kills: int, every_s: float) -> None:
        super().__init__(daemon=True)
        self.wanted, self.every_s = kills, every_s
        self.kills = 0
        self.done = threading.Event()

    def run(self) -> None:
        rng = random.Random(0)
        while self.kills < self.wanted and not self.done.wait(self.every_s):
            workers = [
                one for one in psutil.Process().children(recursive=True)
                if "ray::MapWorker" in " ".join(one.cmdline()[:1])
            ]  # fmt: skip
            if workers:
                rng.choice(workers).kill()
                self.kills += 1


def kills(images: int, broken: int, wanted: int, every_s: float) -> dict[str, Any]:
    """All edited once, each broken one with its reason, nothing else there, while workers are killed."""
    place, out = f"s3://{BUCKET}/kills/in", f"s3://{BUCKET}/kills/out"
    requests = lay_out(place, images, broken)
    killer = Killer(wanted, every_s)
    with tempfile.TemporaryDirectory() as folder:
        config = settings(place, 2, WORKERS, 8_000_000)
        run, result, seconds = edit_all(config, out, requests, Path(folder), killer)
    killer.done.set()
    killer.join()
    rows = [
        row
        for uri in sealed_object_uris(run)
        for row in pq.read_table(
            io.BytesIO(run.store.get(uri.removeprefix(f"{run.uri}/")))
        ).to_pylist()
    ]
    done = {row["key"]: row["sha256"] for row in rows if row["verdict"] == "done"}
    there = {info.key for info in run.place.list() if not info.key.startswith("_editmill/")}
    whole = [
        key
        for key, sha256 in done.items()
        if hashlib.sha256(run.place.get(key)).hexdigest() == sha256
    ]
    return {
        "edited_once": len(whole) if len(rows) == len({row["key"] for row in rows}) else 0,
        "reasons": sum(row["verdict"] == "failed" and bool(row["reason"]) for row in rows),
        "falsely_failed": sum(
            row["verdict"] != "done" and not row["image"].startswith("broken/") for row in rows
        ),
        "stray": len(there - done.keys()),
        "worker_kills": killer.kills,
        "kills_images": images + broken,
        "kills_exit_code": result.exit_code,
        "kills_seconds": round(seconds, 1),
    }


def memory(ways: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """The driver's peak memory of fewer and more pictures, while it plans and in all."""
    figures: dict[str, Any] = {}
    for way, counts in ways.items():
        peaks = [driver_mib(way, count) for count in counts]
        each = (peaks[1] - peaks[0]) * 2**20 / (counts[1] - counts[0])
        for count, peak in zip(counts, peaks, strict=True):
            figures[f"memory_{way}_{count}_mib"] = round(peak, 1)
        figures[f"memory_{way}_bytes_per_image"] = round(each, 1)
    return figures


def driver_mib(way: str, count: int) -> float:
    # Without a disk: each picture's edit is a file.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        told = [
            sys.executable,
            str(ROOT / "benchmarks" / "edits_memory.py"),
            way,
            folder,
            str(count),
        ]
        found = subprocess.run(told, check=True, stdout=subprocess.PIPE, text=True)
    return float(found.stdout.split()[-1])


CURVES = "ip2p-text,ip2p,sdedit"
"""Over s_T from no edit at all; over s_I at a fixed s_T, as the paper; over strengths."""
FIRST = 300
"""Of the scenes: the settings of these curves were chosen with those before in sight."""


def evaluated(work: str, count: int, *sweep: str) -> dict[str, Any]:
    """The report of a sweep on scenes that no model has seen; goes on in `work` where it was stopped."""
    told = ["--set", f"recipe.held_out.first={FIRST}", "--edits", str(count), "--out", work]
    command = [sys.executable, "-m", "trainer", "evaluate", "--sweep", *sweep, *told]
    subprocess.run(command, check=True, stdout=sys.stderr)
    report: dict[str, Any] = json.loads(Path(work, "report.json").read_text())
    return report


def above(work: str, count: int) -> dict[str, Any]:
    """The shipped editor's trade-off curve beside SDEdit's."""
    report = evaluated(work, count, "miniature", "--editors", CURVES)
    return {
        "above_sdedit": report["figures"]["above_sdedit"],
        "above_pictures": count,
        "above_first_picture": FIRST,
        "above_comparison": compared(report, "above", CURVES.partition(",")[0]),
    }


def places(work: str, count: int) -> dict[str, Any]:
    """Whether `p2p` and `pnp` keep the rest, and the place of shapes, more often than SDEdit does where as
    many edits are done.
    """
    report = evaluated(work, count, "miniature", "--editors", "sdedit,p2p,pnp")
    found: dict[str, Any] = {"places_pictures": count, "places_first_picture": FIRST}
    for editor in ("p2p", "pnp"):
        for what in ("keeps_place", "keeps_more", "above"):
            found[f"places_{editor}_{what}"] = compared(report, what, editor)
    return found


def compared(
    report: dict[str, Any], what: str, entrant: str, than: str = "sdedit"
) -> dict[str, Any]:
    """One curve beside another, and where both are."""
    (one,) = [each for each in report[what] if (each["entrant"], each["than"]) == (entrant, than)]
    return {name: one[name] for name in ("above", "from", "to", "pictures", "least_margin")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="ceph", help="ceph, swift or moto")
    parser.add_argument("--only", choices=("speed", "mixed", "kills", "memory", "above", "places"))
    parser.add_argument(
        "--images", type=int, default=1000, help="of the run whose speed is measured"
    )
    parser.add_argument("--of-loop", type=int, default=1000, help="how many of them the loop edits")
    parser.add_argument("--work", help="where curves are made, to go on after a stop")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--dry", action="store_true", help="write no result")
    given = parser.parse_args()
    where = machine()
    figures: dict[str, Any] = {}
    server = "moto" if given.tiny else given.server
    with (
        nullcontext("")
        if given.only in ("memory", "above", "places")
        else s3_server(server) as endpoint
    ):
        if given.only in (None, "kills"):
            figures |= kills(*((16, 20, 1, 10.0) if given.tiny else (1900, 100, 20, 24.0)))
        if given.only in (None, "speed"):
            counts = (8, 4) if given.tiny else (given.images, given.of_loop)
            figures |= speed(endpoint, *counts)
        if given.only in (None, "mixed"):
            figures |= mixed(endpoint, *((8, 4) if given.tiny else (280, 140)))
    if given.only in (None, "memory"):
        figures |= memory(TINY_FLAT if given.tiny else FLAT)
    if given.only in (None, "above"):
        with nullcontext(given.work) if given.work else tempfile.TemporaryDirectory() as work:
            figures |= above(f"{work}/above", 4 if given.tiny else 300)
    if given.only in (None, "places"):
        with nullcontext(given.work) if given.work else tempfile.TemporaryDirectory() as work:
            figures |= places(f"{work}/places", 4 if given.tiny else 300)
    print(json.dumps(figures, indent=1))
    if given.dry:
        return
    if given.only:
        replace_results("edits", given.only, figures, where)
    else:
        write_results("edits", figures, where)


if __name__ == "__main__":
    main()
