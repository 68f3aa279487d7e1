"""`edit` as it is called, and `plan`, `doctor` and `sheet` about it, on the miniature in a few steps."""

import json
import shlex
from itertools import product

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from editmill import app
from factory.miniature import world
from factory.pairs.sheet import CELL_PX, MARGIN_PX

FAST = (
    "--preset miniature --set recipe.ip2p.steps=2 --set compute.where=here --set compute.threads=1"
)
ASKED = f"--images in --instruction 'make it red' {FAST}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for number, caption in enumerate(world.held_out_captions()[:2]):
        draw(tmp_path / "in" / f"{number}.png", caption)
    return tmp_path


def draw(path, caption):
    Image.fromarray(world.render(world.parse_caption(caption))).save(path)


def said(command, capsys, code=0):
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(command))
    out, err = capsys.readouterr()
    assert ended.value.code == code, err
    return json.loads(out) if "--json" in command else err


def test_run_again_it_goes_on_with_the_plan_and_lists_anew_only_on_demand(folder, capsys):
    edit = f"edit --json --out out {ASKED} --set recipe.unit_images=1"
    few = said(f"{edit} --limit 1", capsys)
    assert (few["sealed"]["partial"], few["counts"]["done"]) == (True, 1)
    draw(folder / "in" / "2.png", world.held_out_captions()[2])
    assert "goes on with the 2 pictures that were listed" in said(
        edit.replace(" --json", ""), capsys
    )
    assert said(edit, capsys)["counts"] == {"done": 2, "skipped": 0, "failed": 0}
    assert said(f"{edit} --extend", capsys)["counts"]["done"] == 3
    # The preset is known by the run.
    again = edit.replace("--preset miniature ", "")
    assert said(again, capsys)["counts"]["done"] == 3
    other = edit.replace("make it red", "make it blue")
    assert "instruction: 'make it red' -> 'make it blue'" in said(
        other.replace(" --json", ""), capsys, 2
    )
    said("sheet out --out sheet.png", capsys)
    sheet = np.asarray(Image.open(folder / "sheet.png").convert("RGB"))
    # Before and after of each, enlarged as they are.
    for number, (place, where) in product(range(3), enumerate(("in", "out"))):
        picture = Image.open(folder / where / f"{number}.png").convert("RGB")
        shown = picture.resize((CELL_PX - 2, CELL_PX - 2), Image.Resampling.NEAREST)
        left = MARGIN_PX + number * (2 * CELL_PX + MARGIN_PX) + place * CELL_PX
        there = sheet[MARGIN_PX:, left:][: CELL_PX - 2, : CELL_PX - 2]
        assert (there == np.asarray(shown)).all(), (number, where)
    assert said("verify out --json", capsys)["damages"] == []


def test_a_plan_counts_pictures_and_rows(capsys):
    ahead = said(f"plan --json --rows-per-s 6 --gpus 2 --price-per-gpu-hour 3600 {ASKED}", capsys)
    assert (ahead["pictures"], ahead["rows"], ahead["editors"]) == (2, 2 * 2 * 3, {"ip2p": 2})
    assert ahead["cost"] == pytest.approx(2 * 3600 / 3600)
    with_caption = (
        f"--images in --editor sdedit --target-caption x {FAST} --set recipe.sdedit.steps=10"
    )
    assert said(f"plan --json {with_caption}", capsys)["rows"] == 2 * 6 * 2


def test_a_list_of_requests_may_lie_beside_its_edits(folder, capsys):
    """As README's own command has it: both below one bucket."""
    line = {"image": "in/0.png", "instruction": "make it red"}
    (folder / "requests.jsonl").write_text(json.dumps(line) + "\n")
    told = f"--requests {folder}/requests.jsonl --preset miniature {FAST}"
    assert said(f"edit --json --out {folder}/edits {told}", capsys)["counts"]["done"] == 1
    assert (folder / "edits" / "in" / "0.png").exists()


REQUESTS = [
    {"image": "0.png", "instruction": "make it red", "seed": 7, "text_guidance": 2.5,
     "image_guidance": 1.0},
    {"image": "0.png", "editor": "sdedit", "target_caption": "a red star", "strength": 0.5,
     "output_key": "s/0.png"},
    {"image": "1.png", "editor": "p2p", "source_caption": "a blue star", "target_caption": "a red star",
     "text_guidance": 3.0},
]  # fmt: skip


@pytest.mark.parametrize("name", ["list.jsonl", "list.csv", "list.parquet"])
def test_a_list_says_of_each_picture_by_whom_and_how_strongly_it_is_edited(name, folder, capsys):
    table, file = pd.DataFrame(REQUESTS), str(folder / name)
    table["seed"] = table["seed"].astype("Int64")
    match name.rpartition(".")[2]:
        case "jsonl":
            (folder / name).write_text("".join(json.dumps(line) + "\n" for line in REQUESTS))
        case "csv":
            table.to_csv(file, index=False)
        case "parquet":
            table.to_parquet(file)
    few = "--set recipe.sdedit.steps=4 --set recipe.p2p.steps=2 --set recipe.p2p.inversion_steps=2"
    edit = f"edit --json --images in --requests {name} --out out {FAST} {few}"
    assert said(edit, capsys)["counts"] == {"done": 3, "skipped": 0, "failed": 0}
    found = pd.concat(map(pd.read_parquet, (folder / "out/_editmill/finish").glob("*.parquet")))
    rows = {row.key: row for row in found.itertuples()}
    assert {key: (row.editor, row.steps) for key, row in rows.items()} == {
        "0.png": ("ip2p", 2),
        "s/0.png": ("sdedit", 4),
        "1.png": ("p2p", 2),
    }
    ours, by_sdedit, by_p2p = (rows[key] for key in ("0.png", "s/0.png", "1.png"))
    assert (ours.seed, ours.text_guidance, ours.image_guidance) == (7, 2.5, 1.0)
    assert (by_sdedit.strength, by_sdedit.target_caption) == (0.5, "a red star")
    assert (by_p2p.text_guidance, by_p2p.source_caption) == (3.0, "a blue star")
    assert all(
        (row.width, row.height) == (row.image_width, row.image_height) for row in rows.values()
    )


def test_an_edit_may_stay_at_the_size_at_which_it_was_made(folder, capsys):
    Image.open(folder / "in" / "0.png").resize((150, 100)).save(folder / "in" / "0.png")
    sizes = {}
    for size in ("input", "model"):
        said(f"edit --out {size} {ASKED} --set recipe.output.size={size}", capsys)
        sizes[size] = [Image.open(folder / size / f"{number}.png").size for number in range(2)]
    assert sizes == {"input": [(150, 100), (64, 64)], "model": [(96, 64), (64, 64)]}


def test_blank_words_are_refused_as_in_a_list(capsys):
    words = said(f"edit --out out --images in --instruction ' ' {FAST}", capsys, 2)
    assert "--instruction: must say something, got ' '" in words


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ("--deadline 2020-01-01T00:00:00Z", "has passed"),
        ("--max-gpu-hours 0.000001", "budget.max_gpu_hours: 1e-06 reached"),
    ],
)
def test_guards_stop_edits_and_what_is_made_stays(guard, words, capsys):
    edit = f"edit --out out {ASKED} --set recipe.unit_images=1"
    assert words in said(f"{edit} {guard}", capsys, 4)
    assert said(f"{edit} --json", capsys)["counts"]["done"] == 2


@pytest.mark.long
def test_the_doctor_edits_one_of_the_pictures_and_shows_it(folder, capsys):
    found = said(f"doctor --json --out out {ASKED}", capsys)
    assert {one["check"]: one["level"] for one in found["checks"]} == dict.fromkeys(
        ("pictures", "model files", "store", "device", "edit", "plan"), "ok"
    )
    assert Image.open(folder / "doctor.png").size[0] > 2 * 192
    assert not (folder / "out").exists() or not list((folder / "out" / "_editmill").glob("RUN*"))


def test_the_doctor_says_where_no_picture_is(folder, capsys):
    for path in (folder / "in").iterdir():
        path.write_text("no picture")
    found = said(f"doctor --json {ASKED}", capsys, 2)
    (edit,) = [one for one in found["checks"] if one["check"] == "edit"]
    assert edit["level"] == "failed"
    assert "none of the first 2 objects is a picture; 0.png: must begin as" in edit["found"]


@pytest.mark.long
def test_the_demo_edits_what_it_draws(folder, capsys):
    said("demo-edit --out demo --count 4", capsys)
    edited = {path.name for path in (folder / "demo" / "edits-4").glob("*.*")}
    assert {"000.png", "001.jpg", "002.webp", "003.png"} <= edited
    assert Image.open(folder / "demo" / "edits-4.png").size[0] > 3 * 2 * 192


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (
            "--editor p2p --source-caption 'a red star' --set recipe.p2p.inversion_steps=2",
            2 + 2 * 3,
        ),
        pytest.param(
            "--editor pnp --set recipe.pnp.inversion_steps=4", 4 + 2 * 3, marks=pytest.mark.long
        ),
    ],
)
def test_editors_that_invert_take_captions_and_show_what_they_lend(asked, rows, folder, capsys):
    name = asked.split()[1]
    told = f"{asked} --target-caption 'a blue star' --images in {FAST} --set recipe.{name}.steps=2"
    assert said(f"plan --json {told}", capsys)["rows"] == 2 * rows
    assert said(f"edit --json --out out {told}", capsys)["counts"]["done"] == 2
    if name == "pnp":
        said("sheet out --features --out features.png", capsys)
        assert Image.open(folder / "features.png").size[1] > 2 * 192
    else:
        words = said("sheet out --features --out features.png", capsys, 2)
        assert "--features: must be of edits by pnp, got" in words
