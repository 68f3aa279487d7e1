"""The trainer: a step from pictures and from latents, beside the law of diffusers' script.

python benchmarks/trainer.py                 (from the repository's root)
python benchmarks/trainer.py --repeats 2 --steps 1 --dry
python benchmarks/trainer.py --work DIR      (what editors.py found there alone; the other figures stay)
python benchmarks/trainer.py --gpu           (needs a CUDA device; on no machine so far)
python benchmarks/trainer.py --gpu --tiny    (the same on a small network, also on a CPU: does it run?)

Without a GPU: a small Stable Diffusion with random weights, in which encoding both pictures costs what the
UNet's step does, as in SD 1.5. Sides take turns, so that a busy machine is busy for all of them; figures
are medians over the turns, and a ratio is the median of the turns' own ratios. The script's side is
handed decoded pictures; ours reads and decodes files in its threads, meanwhile.

With `--gpu`: the UNet of SD 1.5 at 256 px (`benchmarks/trainer_gpu.py`), random weights, from latents, and
its share of the rate at which the same device multiplies matrices in the same run. That part was written
where there is no GPU and has not run yet.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch  # noqa: E402

from benchmarks import editors  # noqa: E402
from benchmarks.record import machine, replace_results, write_results  # noqa: E402
from benchmarks.training.diffusers_law import DiffusersLaw  # noqa: E402
from benchmarks.training.model import SIDE, encodes_over_step, write_model, write_pairs  # noqa: E402
from factory.dataset.dataset import Dataset  # noqa: E402
from factory.dataset.decoders import Decoders  # noqa: E402
from factory.engine.checkpoint.load import load_text_to_image  # noqa: E402
from factory.engine.solvers.schedule import NoiseSchedule  # noqa: E402
from factory.storage.local import LocalStore  # noqa: E402
from schemas.training.fit import Fit  # noqa: E402
from trainer.feeding.pictures import resized  # noqa: E402
from trainer.fit import fit, open_reader, pin_law, prepare, prepare_network  # noqa: E402
from trainer.latents.encode import encode_dataset  # noqa: E402
from trainer.learning.conditions import Conditions  # noqa: E402
from trainer.learning.group import Group, Workplace  # noqa: E402
from trainer.learning.objective import NUMBERS, Objective  # noqa: E402
from trainer.learning.order import Order  # noqa: E402
from trainer.learning.state import State  # noqa: E402
from trainer.loop import Loop  # noqa: E402
from trainer.root.checkpoint import Checkpoints  # noqa: E402

CPU = torch.device("cpu")


def configuration(model: Path, batch: int, threads: int, steps: int) -> Fit:
    """The paper's law on the benchmark's model; one micro-batch a step."""
    found = Fit(
        law={
            "model": {"source": str(model)},
            "size_px": SIDE,
            "batch": batch,
            "steps": steps,
            "clip_norm": 1.0,
        },
        compute={
            "where": "here",
            "device": "cpu",
            "gpus_per_worker": 0,
            "threads": threads,
            "micro_batch": batch,
        },
        watching={"sheet_every": 0, "tensorboard": False, "report_every": 10**6},
    )
    return found.model_copy(update={"law": pin_law(found.law)})


def reading_from(config: Fit, latents: Path | None) -> Fit:
    """The same training, from stored latents where there are some."""
    reading = config.reading.model_copy(update={"latents": latents and str(latents)})
    return config.model_copy(update={"reading": reading})


class Ours:
    """A training of ours, some steps at a time."""

    def __init__(self, config: Fit, dataset: Path) -> None:
        law = config.law
        parts = load_text_to_image(law.model, law.autoencoder, NUMBERS[law.dtype])
        self.autoencoder = parts.autoencoder
        self.network = prepare_network(parts, CPU)
        self.state = State(self.network, law)
        conditions = Conditions(parts.autoencoder, parts.text)
        pairs = Dataset.open(str(dataset))
        self.loop = Loop(
            self.network,
            self.state,
            Objective(NoiseSchedule.from_config(parts.scheduler), conditions.autoencoder.scaling),
            Order(law.seed, pairs.prompts, pairs.rows, law.batch),
            open_reader(config, pairs, conditions),
            Workplace(law, config.compute, CPU, Group()),
        )

    def run(self, steps: int) -> None:
        for _ in self.loop.run(self.state.step + steps, lambda: False):
            pass


class Theirs:
    """The script's law on the same pictures."""

    def __init__(self, config: Fit, model: Path, dataset: Path) -> None:
        self.law = DiffusersLaw(model, config.law)
        pairs = Dataset.open(str(dataset))
        self.batches = []
        with closing(Decoders()) as decoders:
            for start in range(0, len(pairs), config.law.batch):
                rows = [pairs.pair(row) for row in range(start, start + config.law.batch)]
                pictures = (
                    torch.stack([self._picture(decoders, data) for data in datas])
                    for datas in ([row.original for row in rows], [row.edited for row in rows])
                )
                words = [row.instruction for row in rows]
                self.batches.append((*pictures, self.law.tokens(words)))
        self.done = 0

    def _picture(self, decoders: Decoders, data: bytes) -> torch.Tensor:
        picture = resized(decoders.decode(data, "picture"), (SIDE, SIDE), flip=False)
        return torch.from_numpy(picture) / 127.5 - 1

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.law.step(*self.batches[self.done % len(self.batches)])
            self.done += 1


def speeds(config: Fit, model: Path, dataset: Path, latents: Path, steps: int, repeats: int):
    """Images a second of each side, and what the sides' turns are to each other."""
    online = Ours(config, dataset)
    cached = Ours(reading_from(config, latents), dataset)
    sides: dict[str, Ours | Theirs] = {
        "online": online,
        "cached": cached,
        "diffusers_law": Theirs(config, model, dataset),
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            started = time.monotonic()
            side.run(steps)
            # The first turn warms up.
            if turn:
                taken[name].append(time.monotonic() - started)
    for ours in (online, cached):
        ours.loop.reader.close()
    images = config.law.batch * steps

    def over(one: str, other: str) -> float:
        ratios = [b / a for a, b in zip(taken[one], taken[other], strict=True)]
        return round(statistics.median(ratios), 3)

    same = all(
        torch.equal(a, b)
        for a, b in zip(online.network.parameters(), cached.network.parameters(), strict=True)
    )
    return {
        "encodes_over_step_flops": round(encodes_over_step(cached.network, cached.autoencoder), 3),
        "cached_over_online": over("cached", "online"),
        "over_diffusers_law": over("cached", "diffusers_law"),
        "online_over_diffusers_law": over("online", "diffusers_law"),
        "cached_bitwise": same,
        **{
            f"images_per_s_{name}": round(images / statistics.median(seconds), 2)
            for name, seconds in taken.items()
        },
        "batch": config.law.batch,
        "repeats": repeats,
        "steps_per_repeat": steps,
    }


def resume_bitwise(config: Fit, dataset: Path, latents: Path, folder: Path) -> bool:
    """Whether weights, average and optimiser of a training that was stopped half-way are equal."""
    equal = True
    for name, where in (("online", None), ("cached", latents)):
        of = reading_from(config, where)
        roots = [str(folder / f"{name}-{way}") for way in ("through", "stopped")]
        fit(*prepare(of, str(dataset), roots[0], _quiet), say=_quiet)
        asked = 0

        def half() -> bool:
            nonlocal asked
            asked += 1
            return asked > config.law.steps // 2

        begun = prepare(of, str(dataset), roots[1], _quiet)
        first = fit(*begun, should_stop=half, say=_quiet)
        assert first.step == config.law.steps // 2
        fit(*begun, say=_quiet)
        ends = [
            Checkpoints(LocalStore(root), config.law.law_hash, begun[1].digest, 2).read(
                config.law.steps
            )
            for root in roots
        ]
        equal &= ends[0].keys() == ends[1].keys()
        equal &= all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    return equal


def _quiet(line: str) -> None: ...


def on_cpu(given: argparse.Namespace) -> dict[str, object]:
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder / "model")
        dataset = write_pairs(folder / "pairs", 4 * given.batch)
        config = configuration(model, given.batch, given.threads, 4)
        started = time.monotonic()
        encode_dataset(config, str(dataset), str(folder / "latents"))
        encoded = 4 * given.batch / (time.monotonic() - started)
        figures: dict[str, object] = speeds(
            config, model, dataset, folder / "latents", given.steps, given.repeats
        )
        figures["encoded_pairs_per_s"] = round(encoded, 2)
        figures["resume_bitwise"] = resume_bitwise(config, dataset, folder / "latents", folder)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=8, help="pairs in a step")
    parser.add_argument("--steps", type=int, default=2, help="steps of a side's turn")
    parser.add_argument("--repeats", type=int, default=9, help="turns that count")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--gpu", action="store_true", help="measure SD 1.5's UNet on a GPU instead")
    parser.add_argument("--tiny", action="store_true", help="with --gpu: small, on any device; dry")
    parser.add_argument("--work", type=Path, help="of benchmarks/editors.py, when it has ended")
    parser.add_argument("--dry", action="store_true", help="print, write no result")
    given = parser.parse_args()
    where = machine()
    if given.gpu and given.tiny:
        from benchmarks.trainer_gpu import at_small_size

        torch.set_num_threads(given.threads)
        figures = at_small_size()
    elif given.gpu:
        from benchmarks.trainer_gpu import on_gpu

        figures = on_gpu()
        where["gpu"] = torch.cuda.get_device_name()
    else:
        figures = editors.figures(given.work) if given.work else on_cpu(given)
    if given.dry or given.tiny:
        print(json.dumps(figures, indent=1))
    elif given.work:
        print(replace_results("trainer", "editors", figures, where))
    else:
        print(write_results("trainer_gpu" if given.gpu else "trainer", figures, where))


if __name__ == "__main__":
    main()
