"""Instructions that the text encoder cuts: counted when captions are read, said at every start."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from editmill import app
from factory.dataset import dataset as dataset_module
from factory.engine.text.limit import TextLimit
from factory.errors import Damaged
from schemas.recipe import ModelSource
from tests.trainer.encoded import configuration, model
from tests.trainer.small import objects, png
from trainer.fit import prepare
from trainer.latents.encode import encode_dataset

LONG = "make it " + "very " * 80
SHORT = ("make it red", "make it blue", f"{LONG}red", f"{LONG}blue", "make it red")
MESSAGE = "truncated 2 of 4 instructions (limit {} tokens)"


@pytest.fixture
def dataset(tmp_path):
    return write(tmp_path / "pairs", SHORT)


def write(folder, instructions, files=2):
    folder.mkdir()
    rows = [
        {"original_image": png(i), "edit_prompt": said, "edited_image": png(i + 100)}
        for i, said in enumerate(instructions)
    ]
    for number in range(files):
        pq.write_table(pa.Table.from_pylist(rows[number::files]), folder / f"{number}.parquet")
    return str(folder)


def limit_of(source):
    return TextLimit(ModelSource(source=source)).tokens


def test_a_training_says_at_each_start_how_many_instructions_are_cut(
    tmp_path, dataset, monkeypatch
):
    config, out = configuration(), str(tmp_path / "out")
    first, second = [], []
    prepare(config, dataset, out, first.append)
    # No captions are read again.
    monkeypatch.setattr(dataset_module, "scan", None)
    prepare(config, dataset, out, second.append)
    for said in (first, second):
        assert [line for line in said if "truncated" in line] == [MESSAGE.format(limit_of(model()))]


def test_encode_says_so_too_and_nothing_where_nothing_is_cut(tmp_path, dataset):
    said = []
    for _ in range(2):
        encode_dataset(configuration(), dataset, str(tmp_path / "latents"), say=said.append)
    assert said == [MESSAGE.format(limit_of(model()))] * 2
    short, said = write(tmp_path / "short", SHORT[:2]), []
    encode_dataset(configuration(), short, str(tmp_path / "other"), say=said.append)
    assert said == []
    assert len([key for key in objects(tmp_path / "other") if key.startswith("dataset/")]) == 1


def test_both_commands_give_the_figure(tmp_path, dataset):
    file = tmp_path / "c.yaml"
    file.write_text(configuration(pinned=False, law={"steps": 1}).model_dump_json())
    for command, out in ("encode", "latents"), ("fit", "out"):
        arguments = [command, "--dataset", dataset, "--out", str(tmp_path / out), "--json"]
        result = CliRunner().invoke(app, [*arguments, "--config", str(file)])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["truncated"] == 2
        assert "truncated 2 of 4 instructions (limit" in result.stderr


def test_a_count_that_was_changed_is_damage(tmp_path, dataset):
    config, out = configuration(), tmp_path / "out"
    prepare(config, dataset, str(out), print)
    (path,) = out.glob("dataset/*.instructions.json")
    path.write_bytes(path.read_bytes().replace(b'"truncated":2', b'"truncated":3'))
    with pytest.raises(Damaged, match=r"\.instructions\.json: not such a record"):
        prepare(config, dataset, str(out), print)
