"""`editmill evaluate --sweep` and `compare` as they are called, on networks with random weights."""

import json
import shutil

import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from typer.testing import CliRunner

from editmill import app
from factory.console.config import EVALUATION_PRESETS, PRESETS, preset_names, read_config
from factory.engine.checkpoint.load import load_text_to_image
from factory.errors import ConfigError
from factory.miniature import world
from schemas.config import Config
from schemas.evaluation import Evaluation
from schemas.recipe import ModelSource
from tests.trainer.encoded import model
from trainer.evaluation.entrants import of_these, with_editor
from trainer.learning.editor import widen, write_editor

torch.set_num_threads(1)


def call(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Two editors of random weights at two settings each, on two scenes."""
    folder = tmp_path_factory.mktemp("sweep")
    parts = load_text_to_image(ModelSource(source=model()), None, torch.float32)
    text_to_image = folder / "t2i"
    shutil.copytree(model(), text_to_image)
    widen(parts.unet)
    write_editor(folder / "editor", parts.unet, parts.autoencoder, parts.text, parts.scheduler)
    sized = {"size_px": 64, "output": {"size": "model"}}
    ip2p = {"model": {"source": str(folder / "editor")}, "steps": 2}
    sdedit = {"model": {"source": str(text_to_image)}, "steps": 4}
    entrants = [
        {
            "name": "ours",
            "edits": {"editor": "ip2p", "ip2p": ip2p, **sized},
            "sweep": {"parameter": "image_guidance", "values": [1.0, 2.0]},
        },
        {
            "name": "sdedit",
            "edits": {"editor": "sdedit", "sdedit": sdedit, **sized},
            "sweep": {"parameter": "strength", "values": [0.5, 1.0]},
        },
    ]
    recipe = {
        "entrants": entrants,
        "held_out": {"first": 5, "count": 2},
        "clip": {"source": "miniature/clip"},
        "gates": {"image": 0.6, "text": 0.6, "direction": 0.6},
        "unit_edits": 2,
    }
    compute = {"where": "here", "device": "cpu", "gpus_per_worker": 0, "batch_images": 2}
    file = folder / "sweep.yaml"
    with file.open("w") as stream:
        YAML().dump({"recipe": recipe, "compute": compute}, stream)
    return file


@pytest.fixture(scope="module")
def judged(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("judged")
    # Broken off by a limit, and gone on with.
    first = call("evaluate", "--sweep", config, "--out", out, "--set", "budget.limit=4")
    assert first.exit_code == 0, first.output
    assert not (out / "sheet.png").exists()
    second = call("evaluate", "--sweep", config, "--out", out, "--json")
    assert second.exit_code == 0, second.output
    assert "resuming: 2 of 4 units are committed" in second.stderr
    return out, json.loads(second.stdout)


def test_a_sweep_leaves_table_curve_report_and_sheet(judged):
    out, report = judged
    assert report == json.loads((out / "report.json").read_bytes())
    assert [(p["entrant"], p["pictures"], p["failed"]) for p in report["points"]] == [
        ("ours", 2, 0),
        ("ours", 2, 0),
        ("sdedit", 2, 0),
        ("sdedit", 2, 0),
    ]
    assert [p["setting"]["strength"] for p in report["points"]] == [None, None, 0.5, 1.0]
    assert len((out / "table.csv").read_text().splitlines()) == 5
    for name in ("curve.png", "sheet.png"):
        with Image.open(out / name) as image:
            assert image.width > 300
    assert (out / "curve.svg").read_text().startswith("<svg ")
    (made,) = json.loads((out / "environments.json").read_bytes())
    assert (made["units"], made["batch_images"]) == (4, 2)
    assert {"torch", "open_clip_torch", "editmill"} <= made["wheels"].keys()


INVERTING = {"steps": 2, "inversion_steps": 2, "model": {"source": "miniature"}}
ALL_KINDS = {
    "ip2p": {"model": {"source": "miniature/editor"}, "steps": 2},
    "sdedit": {"model": {"source": "miniature"}, "steps": 4},
    "p2p": {**INVERTING, "self_scale": 2},
    "pnp": {**INVERTING, "feature_layers": ["up.0.0"], "attention_layers": ["up"]},
    "diffusers": {"model": {"source": "miniature/editor"}, "dtype": "float32", "steps": 2},
}
WORDS = {"source_caption": "a large red star on a white background",
         "target_caption": "a large blue star on a white background",
         "instruction": "make it blue"}  # fmt: skip


@pytest.mark.long
def test_editors_of_every_kind_are_measured_on_a_list_of_requests(tmp_path):
    pictures = tmp_path / "in"
    pictures.mkdir()
    scene = world.render(world.parse_caption(WORDS["source_caption"]))
    for name in ("a.png", "b.png"):
        Image.fromarray(scene).save(pictures / name)
    requests = tmp_path / "list.jsonl"
    lines = [{"image": name, **WORDS} for name in ("a.png", "b.png")]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sized = {"size_px": 64, "output": {"size": "model"}}
    recipe = {
        "entrants": [
            {"name": f"by-{kind}", "edits": {"editor": kind, kind: settings, **sized}}
            for kind, settings in ALL_KINDS.items()
        ]
    }
    sweep = tmp_path / "sweep.yaml"
    with sweep.open("w") as stream:
        YAML().dump({"base": "miniature", "recipe": recipe}, stream)
    of = ["--requests", requests, "--images", pictures, "--set", "compute.where=here"]
    done = call("evaluate", "--sweep", sweep, *of, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [(one["entrant"], one["pictures"], one["failed"]) for one in report["points"]] == [
        (f"by-{kind}", 2, 0) for kind in ALL_KINDS
    ]
    assert all(-1 <= one["clip_sim_dir"]["value"] <= 1 for one in report["points"])
    assert all(0 < one["clip_sim_image"]["value"] <= 1 for one in report["points"])
    # No oracle reads other people's pictures.
    assert all(one["true"] is None for one in report["points"])


@pytest.mark.parametrize("verb", ["status", "verify", "seal", "gc"])
def test_the_verbs_on_runs_know_it(verb, judged):
    result = call(verb, judged[0] / "_editmill")
    assert result.exit_code == 0, result.output


def test_another_wish_is_refused_where_a_run_is(config, judged):
    result = call("evaluate", "--sweep", config, "--out", judged[0], "--attempts", 2)
    assert result.exit_code == 2
    assert "holds a run with another recipe; differing: attempts: 1 -> 2" in result.stderr


@pytest.mark.long
def test_people_compare_what_it_made(judged, tmp_path):
    out, _ = judged
    result = call("compare", out, "--pictures", 2, "--at", "ours=1", "--threads", 1, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["questions"] == 2
    page, key = (
        (out / "compare.html").read_text(),
        json.loads((out / "compare-key.json").read_text()),
    )
    assert page.count("<section") == 2
    assert "ours" not in page
    assert "sdedit" not in page
    ours = [q["left"] if q["left"]["entrant"] == "ours" else q["right"] for q in key["questions"]]
    assert [side["image_guidance"] for side in ours] == [1.0, 1.0]
    answers = {q["question"]: "left" for q in key["questions"]}
    file = tmp_path / "answers.json"
    file.write_text(json.dumps({"page": key["page"], "sheet": "0" * 8, "answers": answers}))
    read = call("compare", out, "--answers", file, "--answers", file, "--json")
    assert read.exit_code == 0, read.output
    found = json.loads(read.stdout)
    left = sum(q["left"]["entrant"] == "ours" for q in key["questions"])
    assert (found["people"], found["preferences"][0]["preferred"]) == (1, left)
    assert "1 file left out: of a copy of the page that was read already" in read.stderr
    assert "ours" in call("compare", out, "--answers", file).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--out OUT", "--editor or --sweep: must be given, got neither"),
        ("--out OUT --editor e --editors a", "--editors: needs --sweep, got none"),
        ("--out OUT --editor e --dataset d", "--dataset: needs --sweep, got none"),
        ("--out OUT --editor e --edits 1001", "--edits: must be at most 1000 of the miniature"),
        ("--out OUT --sweep miniature --preset paper", "must be left out with --sweep"),
        (
            "--out OUT --sweep miniature --editors a",
            "--editors: must be of ip2p, sdedit, ip2p-text",
        ),
        ("--out OUT --sweep paper", "--dataset or --requests: must be given with --sweep paper"),
        ("--out OUT --sweep none.yaml", "none.yaml"),
        ("--out OUT --sweep miniature --images d", "--images: needs --requests, got none"),
        ("--out OUT --sweep miniature --edits 1001", "at most 1000 of the miniature, got 1001"),
        (
            "--out OUT --sweep miniature --dataset d --requests r",
            "--dataset and --requests: give one, got both",
        ),
        (
            "--out OUT --sweep miniature --editors sdedit --editor e",
            "--editor: needs an entrant that is shown pictures",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_begun(arguments, words, tmp_path):
    result = call("evaluate", *arguments.replace("OUT", str(tmp_path / "out")).split())
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "must be what `evaluate` wrote, got no run in it"),
        ("--editors ours", "must be at least two, got ours alone"),
        ("--at ours", "--at: must be EDITOR=VALUE, got 'ours'"),
        ("--at ours=7", "--at ours=7: must be one of 1, 2"),
        ("--at theirs=1", "--at: must name one of ours, sdedit, got 'theirs'"),
    ],
)
def test_a_page_of_nothing_is_refused(arguments, words, judged, tmp_path):
    place = judged[0] if arguments else tmp_path
    result = call("compare", place, *arguments.split())
    assert result.exit_code == 2, result.output
    assert words in result.stderr


def test_answers_without_their_page_are_refused(judged, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(judged[0] / "_editmill", out / "_editmill")
    result = call("compare", out, "--answers", tmp_path / "answers.json")
    assert result.exit_code == 2
    assert "must have a compare-key.json beside it, got none" in result.stderr


@pytest.mark.parametrize("preset", preset_names(EVALUATION_PRESETS))
def test_a_preset_is_shown_as_it_is_read_back(preset, tmp_path):
    shown = call("config", "show", "--of", "evaluate", "--preset", preset)
    assert shown.exit_code == 0, shown.output
    file = tmp_path / "shown.yaml"
    file.write_text(shown.stdout)
    read = read_config(Evaluation, EVALUATION_PRESETS, None, file)
    assert read == read_config(Evaluation, EVALUATION_PRESETS, preset)
    assert [entrant.name for entrant in read.recipe.entrants][:2] == ["ip2p", "sdedit"]
    # The paper's figure 8; the miniature's is moved little by it.
    values = {"paper": (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2), "miniature": (1.0, 1.4, 1.8, 2.2)}
    assert read.recipe.entrants[0].sweep.values == values[preset]


def test_an_editor_of_ones_own_takes_the_place_of_all_that_had_the_same():
    recipe = read_config(Evaluation, EVALUATION_PRESETS, "miniature").recipe
    changed = with_editor(recipe, "mine/editor")
    models = {one.name: one.settings.model.source for one in changed.entrants}
    assert models == dict.fromkeys(("ip2p", "ip2p-text"), "mine/editor") | dict.fromkeys(
        ("sdedit", "p2p", "pnp"), "miniature"
    )
    with pytest.raises(ConfigError, match="needs an entrant that is shown pictures"):
        with_editor(of_these(recipe, "sdedit,pnp"), "mine/editor")


def test_gates_are_those_of_the_pairs_presets():
    for preset in preset_names(EVALUATION_PRESETS):
        ours = read_config(Evaluation, EVALUATION_PRESETS, preset).recipe
        theirs = read_config(Config, PRESETS, preset).recipe
        assert ours.clip == theirs.clip
        for name in ("image", "text", "direction"):
            assert getattr(ours.gates, name) == getattr(theirs.thresholds, name)
