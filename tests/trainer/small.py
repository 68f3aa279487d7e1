"""A small dataset of pairs as the factory stores them, and a short training on it with a tiny model."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load

from factory.dataset.dataset import Dataset
from factory.storage.local import LocalStore
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from schemas.arrow import to_parquet
from schemas.ledger.commit import StoredObject
from schemas.ledger.stamped import from_stamped_json
from schemas.pair import Pair
from schemas.training.fit import Fit
from schemas.training.root import CheckpointRecord
from tests.trainer.encoded import model
from trainer.fit import Fitted, fit, pin_law
from trainer.root.checkpoint import record_key
from trainer.root.training import begin_training, training_dataset

SIDE = 16
WORDS = ("red", "green", "blue", "yellow", "purple", "orange")


def png(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """Random pixels; size is width and height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def pair(prompt: int, index: int, **fields: object) -> Pair:
    seed = 10 * prompt + index
    word = WORDS[prompt % len(WORDS)]
    found: dict[str, object] = {
        "original_prompt": f"a circle, {prompt}",
        "original_image": {"bytes": png(2 * seed), "path": f"{seed}.png"},
        "edit_prompt": f"make it {word}",
        "edited_prompt": f"a {word} circle, {prompt}",
        "edited_image": {"bytes": png(2 * seed + 1), "path": f"{seed}-after.png"},
        "edit_kind": "colour",
        "triplet_id": f"{prompt:016x}",
        "index": index,
        "seed": seed,
        "p2p_threshold": 0.5,
        "cfg_scale": 7.5,
        "clip_sim_0": 0.3,
        "clip_sim_1": 0.3,
        "clip_sim_dir": 0.2,
        "clip_sim_image": 0.8,
    }
    return Pair.model_validate(found | fields)


def write_pairs(folder: Path, prompts: int = 7, pairs: int = 2, files: int = 2, **fields) -> str:
    """`fields` of the first row replace its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [pair(prompt, index) for prompt in range(prompts) for index in range(pairs)]
    rows[0] = rows[0].model_copy(update=fields)
    share = -(-len(rows) // files)
    for number in range(files):
        data = to_parquet(Pair, rows[number * share : (number + 1) * share])
        (folder / f"part-{number}.parquet").write_bytes(data)
    return str(folder)


def small(pinned: bool = True, **more) -> Fit:
    """Five steps of four pairs, in micro-batches of two; groups are replaced field by field."""
    groups = {
        "law": {
            "model": {"source": model()},
            "size_px": SIDE,
            "batch": 4,
            "steps": 5,
            "learning_rate": 1e-3,
            "warm_up": 2,
            "clip_norm": 1.0,
            "ema_decay": 0.9,
        },
        "compute": {"where": "here", "device": "cpu", "gpus_per_worker": 0, "micro_batch": 2},
        "watching": {
            "report_every": 1,
            "checkpoint_every": 2,
            "sheet_every": 0,
            "sheet_pairs": 1,
            "tensorboard": False,
        },
        "reading": {},
    }
    found = Fit.model_validate({name: own | more.get(name, {}) for name, own in groups.items()})
    return found.model_copy(update={"law": pin_law(found.law)}) if pinned else found


def begin(config: Fit, dataset: str, out: Path | str) -> tuple[Fit, Dataset, ObjectStore]:
    """As `prepare`, without a look at models and latents."""
    store = open_store(str(out))
    opened = training_dataset(store, dataset, config.reading)
    begin_training(store, config, opened)
    return config, opened, store


def train(config: Fit, dataset: str, out: Path | str, say=lambda line: None, **more) -> Fitted:
    return fit(*begin(config, dataset, out), say=say, **more)


def objects(folder: Path, prefix: str = "") -> dict[str, bytes]:
    store = LocalStore(folder)
    return {info.key: store.get(info.key) for info in store.list(prefix)}


def files_of(store: LocalStore, step: int) -> tuple[StoredObject, ...]:
    """A checkpoint's."""
    return from_stamped_json(CheckpointRecord, store.get(record_key(step))).files


def state_of(out: Path, step: int = 5) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint."""
    store = LocalStore(out)
    data = [store.get(file.key) for file in files_of(store, step)]
    return {name: tensor for part in data for name, tensor in load(part).items()}
