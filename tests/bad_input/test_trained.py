"""Datasets and roots that are only untidy: trained on, what is amiss counted or made again."""

import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from editmill import app
from factory.dataset.dataset import Dataset
from tests.bad_input.materials import Step, cut, parquet, remove, write
from tests.bad_input.training_materials import FIT, PICTURE, pairs, real


def picture(*size: int, mode: str = "RGB") -> Step:
    """A dataset whose first original is of another size or kind."""

    def step() -> None:
        sink = io.BytesIO()
        Image.new(mode, size).save(sink, "PNG")
        pairs(original_image={"bytes": sink.getvalue(), "path": "x"})()

    return step


def bare() -> None:
    """A dataset of three columns, its pictures in no struct."""
    from tests.trainer.small import png

    words = [f"make it {word}" for word in ("red", "green", "blue")]
    columns: dict[str, Any] = {"original_image": [png(i) for i in range(3)], "edit_prompt": words}
    remove("pairs")()
    write("pairs/a.parquet", parquet(**columns, edited_image=[png(i) for i in range(3, 6)]))()


def begun() -> None:
    """A training with two checkpoints."""
    assert fitted("watching.checkpoint_every=1") == (1, 2, 0)


def fitted(setting: str = "") -> tuple[int, int, int]:
    """The first and the last step that were made, and the unreadable rows."""
    words = shlex.split(f"{FIT} --config f.yaml --set watching.report_every=1")
    result = CliRunner().invoke(app, [*words, *(("--set", setting) if setting else ())])
    assert result.exit_code == 0, result.output
    first = re.search(r"^step (\d+)/", result.stderr, re.MULTILINE)
    assert first, result.stderr
    facts = json.loads(result.stdout)
    return int(first[1]), facts["step"], facts["unreadable"]


def of_newest(harm: Callable[[str], Step]) -> Step:
    """Harm to a file of the newest checkpoint."""

    def step() -> None:
        record = json.loads(max(Path("out/checkpoints").iterdir()).read_bytes())
        harm(f"out/{record['files'][0]['key']}")()

    return step


def strange() -> None:
    """A dataset whose other columns, and paths, are of kinds that nobody reads."""
    from tests.trainer.small import png

    rows = 3
    paths = pa.Array.from_buffers(pa.string(), rows, [None, *OFFSETS, pa.py_buffer(b"\xff" * rows)])
    pictures = [
        pa.StructArray.from_arrays([pa.array([png(i + 9 * of) for i in range(rows)]), paths], NAMES)
        for of in (0, 1)
    ]
    columns = {
        "original_image": pictures[0],
        "edit_prompt": pa.array(["make it red", "make it green", "blue"]).dictionary_encode(),
        "edited_image": pictures[1],
        "id": pa.array([bytes(16)] * rows, pa.uuid()),
        "other": pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int8(), [2]), pa.array([[1, 2]] * rows, pa.list_(pa.int8(), 2))
        ),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}'] * rows)),
        "views": pa.array([["a"]] * rows, pa.list_(pa.string_view())),
    }
    remove("pairs")()
    table = pa.table(columns)
    twice = table.append_column("id", pa.array(range(rows)))
    sink = io.BytesIO()
    pq.write_table(twice, sink)
    write("pairs/a.parquet", sink.getvalue())()
    write("pairs/b.parquet", parquet(nothing=pa.nulls(0)))()
    write("pairs/.c.parquet", "")()


def as_json() -> None:
    """A dataset whose instructions are of Arrow's type for JSON, each a string of it."""
    bare()
    table = pq.read_table("pairs/a.parquet")
    words = pa.array(map(json.dumps, table["edit_prompt"].to_pylist()))
    words = pa.ExtensionArray.from_storage(pa.json_(), words)
    pq.write_table(table.set_column(1, "edit_prompt", words), "pairs/a.parquet")
    assert Dataset.open("pairs").pair(0).instruction == "make it red"


NAMES = ["bytes", "path"]
OFFSETS = [pa.py_buffer(np.arange(4, dtype=np.int32))]
TRAINED = [
    pytest.param((picture(40, 24),), "", (1, 2, 0), id="pictures of several sizes"),
    pytest.param((picture(16, 16, mode="RGBA"),), "", (1, 2, 0), id="a picture with alpha"),
    pytest.param((picture(16, 16, mode="I;16"),), "", (1, 2, 0), id="a picture of 16 bits"),
    pytest.param((bare,), "", (1, 2, 0), id="a dataset without captions"),
    pytest.param((as_json,), "", (1, 2, 0), id="instructions in a column of JSON"),
    pytest.param((strange,), "", (1, 2, 0), id="columns of strange kinds, a file without rows"),
    pytest.param(
        (pairs(edited_image={"bytes": None, "path": "/home/me/1.png"}),),
        "reading.max_bad=1",
        (1, 2, 1),
        id="a path in place of a picture within reading.max_bad",
    ),
    pytest.param(
        (pairs(edited_image=PICTURE),),
        "reading.max_bad=1",
        (1, 2, 1),
        id="an unreadable picture within reading.max_bad",
    ),
    pytest.param(
        (begun, remove("out/checkpoints/000000002.json")),
        "law.steps=3",
        (2, 3, 0),
        id="half a checkpoint: files without their record",
    ),
    pytest.param(
        (begun, of_newest(lambda name: cut(name, 1))),
        "law.steps=3",
        (2, 3, 0),
        id="a newest checkpoint that was cut",
    ),
    pytest.param(
        (begun, of_newest(remove)),
        "law.steps=3",
        (2, 3, 0),
        id="a newest checkpoint that lacks a file",
    ),
]
"""What is there, a setting, the first and the last step that are made, and the unreadable rows."""


@pytest.mark.parametrize(("steps", "setting", "expected"), TRAINED)
def test_what_is_only_untidy_is_trained_on(
    steps: tuple[Step, ...],
    setting: str,
    expected: tuple[int, int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    real()
    for step in steps:
        step()
    assert fitted(setting) == expected
