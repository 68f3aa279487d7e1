"""`edit` as it is called, and `plan`, `doctor` and `sheet` about it, on the miniature in a few steps."""

import json
import shlex

import pytest
from PIL import Image

from editmill import app
from factory.miniature import world

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
    assert Image.open(folder / "sheet.png").size[0] > 3 * 2 * 192
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
