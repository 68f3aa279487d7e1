"""What cases are made of: steps that prepare the current folder, and bytes that are nearly right."""

import io
import json
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

from factory.config import load_config
from factory.here import run_here
from factory.job import prepare, run_job
from factory.pair_source import Draw, Made, NotMade
from factory.triplets import read_triplets
from schemas.candidate import Scores
from schemas.commit import Environment
from schemas.stamped import to_stamped_json

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


def with_nan(kind: str) -> bytes:
    """Two weights; the second is the smallest not-a-number of its format."""
    bits = {"F16": "<HH", "BF16": "<HH", "F32": "<II", "F64": "<QQ"}
    infinity = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F800000, "F64": 0x7FF << 52}
    return safetensors(2, kind, struct.pack(bits[kind], infinity[kind], infinity[kind] + 1))


def models() -> None:
    """Folders that pass for models until somebody loads them, and a configuration that names them."""
    for part in ("unet", "vae", "text_encoder"):
        write(f"t2i/{part}/config.json", '{"block_out_channels": [8, 8]}')()
        write(f"t2i/{part}/model.safetensors", safetensors())()
    write("t2i/tokenizer/tokenizer_config.json", "{}")()
    write("t2i/scheduler/scheduler_config.json", "{}")()
    write("clip/open_clip_config.json", "{}")()
    write("clip/open_clip_model.safetensors", safetensors())()
    write("c.yaml", CONFIG)()
    write("t.jsonl", GOOD + OTHER)()


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
        assert result.sealed.accepted == 2
        return files()


def files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
