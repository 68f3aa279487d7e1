"""What cases are made of: steps that prepare the current folder, and bytes that are nearly right."""

import io
import json
import math
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factory.console.config import load_config
from factory.models.checks.clip import clip_shapes
from factory.models.checks.known_clip import ClipFolder
from factory.models.checks.known_configs import Autoencoder, TextEncoder, Unet
from factory.models.checks.shapes import Shapes, autoencoder_shapes, text_shapes, unet_shapes
from factory.pairs.generate import prepare
from factory.pairs.source import Draw, Made, NotMade
from factory.pairs.triplets import read_triplets
from schemas.candidate import Scores
from schemas.ledger.stamped import to_stamped_json
from schemas.running.environment import Environment
from tests.making import run_here, run_job

GOOD = '{"input": "a cat", "edit": "make it a dog", "output": "a dog"}\n'
OTHER = '{"input": "a cat", "edit": "make it a cow", "output": "a cow"}\n'
BAD = '{"input": "a cat", "edit": null, "output": "a dog"}\n'
CONFIG = """\
base: miniature
recipe:
  text_to_image: {source: t2i}
  clip: {source: clip}
  size_px: 8
  candidates: 2
  unit_triplets: 1
compute: {where: here, device: cpu}
"""
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\n"
PICKLE = b"\x80\x04."
UNET: Mapping[str, Any] = {
    "block_out_channels": [4, 4],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "attention_head_dim": 2,
    "cross_attention_dim": 4,
}
VAE: Mapping[str, Any] = {
    "block_out_channels": [4, 4],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2,
}
TEXT: Mapping[str, Any] = {
    "hidden_size": 4,
    "intermediate_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 3,
    "max_position_embeddings": 7,
}
WORDS = {"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}
SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
TOWER = {"layers": 1, "width": 4}
CLIP: Mapping[str, Any] = {
    "model_cfg": {
        "embed_dim": 4,
        "vision_cfg": TOWER | {"head_width": 2, "patch_size": 4, "image_size": 8},
        "text_cfg": TOWER
        | {"heads": 2, "vocab_size": 3, "context_length": 7, "hf_tokenizer_name": "here"},
    }
}
UNET_FILE = "t2i/unet/diffusion_pytorch_model.safetensors"
UNET_SHAPES = unet_shapes(Unet.model_validate(UNET))
VAE_SHAPES = autoencoder_shapes(Autoencoder.model_validate(VAE))
TEXT_SHAPES = text_shapes(TextEncoder.model_validate(TEXT), projects=False)
CLIP_SHAPES = clip_shapes(ClipFolder.model_validate(CLIP).model_cfg) or {}
Step = Callable[[], object]
"""Prepares something in the current folder."""


def write(name: str, content: str | bytes) -> Step:
    def step() -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return step


def remove(name: str) -> Step:
    return lambda: shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink()


def cut(pattern: str, count: int) -> Step:
    """Off the end of the first file that fits."""

    def step() -> None:
        path = min(Path().glob(pattern))
        path.write_bytes(path.read_bytes()[:-count])

    return step


def rename(name: str, new: str) -> Step:
    return lambda: Path(name).rename(new)


def replace(name: str, old: str, new: str) -> Step:
    def step() -> None:
        text = Path(name).read_text()
        assert old in text
        Path(name).write_text(text.replace(old, new))

    return step


def restamp(name: str, record: type[Any], change: Callable[[dict[str, Any]], None]) -> Step:
    """Another record with a right stamp, as another release would have written it."""

    def step() -> None:
        plain = json.loads(Path(name).read_bytes())
        del plain["stamp"]
        change(plain)
        Path(name).write_bytes(to_stamped_json(record.model_construct(**plain)))

    return step


def laughs(indent: str = "", lines: int = 9) -> str:
    """YAML in which each line stands for ten times as much as the one before."""
    kept = [f"{indent}a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for i in range(1, lines):
        kept.append(f"{indent}a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    return "\n".join(kept) + "\n"


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def doubled(**columns: Any) -> bytes:
    """A file that has its first column twice."""
    table, sink = pa.table(columns), io.BytesIO()
    pq.write_table(table.append_column(table.schema.field(0), table.column(0)), sink)
    return sink.getvalue()


def not_unicode() -> pa.Array:
    buffers = [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    return pa.Array.from_buffers(pa.string(), 1, buffers)


def safetensors(size: int = 4, kind: str = "U8", values: bytes = b"") -> bytes:
    values = values or bytes(size)
    entry = {"dtype": kind, "shape": [size], "data_offsets": [0, len(values)]}
    header = json.dumps({"weight": entry, "__metadata__": {"format": "pt"}}).encode()
    return len(header).to_bytes(8, "little") + header + values


def weights(
    shapes: Shapes, kind: str = "F16", number: bytes = b"\0\0", last: bytes = b"", **said: str
) -> bytes:
    """A file of weights of such names and shapes, each the same number, but for the `last` of all."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"} | said}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * len(number)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    data = number * (end // len(number))
    return len(head).to_bytes(8, "little") + head + data[: len(data) - len(last)] + last


def with_nan(kind: str) -> bytes:
    """A UNet's weights; the last number is the smallest not-a-number of its format."""
    form, infinity = {
        "F16": ("<H", 0x7C00),
        "BF16": ("<H", 0x7F80),
        "F32": ("<I", 0x7F800000),
        "F64": ("<Q", 0x7FF << 52),
    }[kind]
    nan = struct.pack(form, infinity + 1)
    return weights(UNET_SHAPES, kind, struct.pack(form, infinity), nan)


def models() -> None:
    """Folders of models whose weights are all zero, and a configuration that names them."""
    for name, content in model_files().items():
        write(name, content)()
    write("c.yaml", CONFIG)()
    write("t.jsonl", GOOD + OTHER)()


@cache
def model_files() -> Mapping[str, bytes]:
    configs = {
        "t2i/unet/config.json": UNET,
        "t2i/vae/config.json": VAE,
        "t2i/text_encoder/config.json": TEXT,
        "t2i/scheduler/scheduler_config.json": SCHEDULE,
        "t2i/tokenizer/tokenizer_config.json": {"model_max_length": 7},
        "t2i/tokenizer/vocab.json": WORDS,
        "clip/vocab.json": WORDS,
        "clip/open_clip_config.json": CLIP,
    }
    return {name: json.dumps(fields).encode() for name, fields in configs.items()} | {
        "t2i/tokenizer/merges.txt": b"#version: 0.2\n",
        "clip/merges.txt": b"#version: 0.2\n",
        UNET_FILE: weights(UNET_SHAPES),
        "t2i/vae/diffusion_pytorch_model.safetensors": weights(VAE_SHAPES),
        "t2i/text_encoder/model.safetensors": weights(TEXT_SHAPES),
        "clip/open_clip_model.safetensors": weights(CLIP_SHAPES),
    }


class Grey:
    """A pair source without models."""

    def pairs(self, draws: Sequence[Draw]) -> Iterator[Made | NotMade]:
        grey = np.full((8, 8, 3), 128, np.uint8)
        scores = Scores(clip_sim_0=1, clip_sim_1=1, clip_sim_dir=1, clip_sim_image=1)
        for draw in draws:
            yield Made(draw, grey, grey, scores, truncated=False)

    def environment(self) -> Environment:
        return Environment(
            device="none", wheels={}, batch_pairs=1, decode_pairs=1, threads=1, attention="none"
        )


def run() -> None:
    """A run below `run` with committed pairs, a commit to come, and a sealed snapshot."""
    for path, content in run_files().items():
        write(str(path), content)()


@cache
def run_files() -> Mapping[Path, bytes]:
    with TemporaryDirectory() as folder, chdir(folder):
        models()
        config = load_config(file=Path("c.yaml"), settings=["budget.limit=1"])
        opened, plan = prepare(config, read_triplets("t.jsonl"), "run")
        result = run_job(opened, plan, config, run_here(lambda _: Grey()))
        assert result.exit_code == 0
        assert result.sealed
        assert result.sealed.counts["accepted"] == 2
        return files()


def files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
