"""Which preset is meant where none is given, and that every start says what it makes."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.console.config import FIT_PRESETS, load_config, read_config
from factory.dataset.files import find_files
from factory.errors import ConfigError
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.pairs.triplets import read_triplets
from factory.storage.open import open_store
from factory.verbs.preset_choice import choose
from schemas.ledger.stamped import to_stamped_json
from schemas.training.fit import Fit
from schemas.training.root import TrainingRecord
from tests.bad_input.materials import GOOD, OTHER, Grey, models
from tests.making import STAGE, run_here
from tests.trainer.small import write_pairs
from trainer.preset_choice import choose as choose_fit


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A list of one's own in the current folder; pairs are grey pictures that pass every gate."""
    monkeypatch.chdir(tmp_path)
    models()
    monkeypatch.setattr(
        "factory.verbs.machine.generate", lambda _: (STAGE, run_here(lambda _: Grey()))
    )


def call(command):
    return CliRunner().invoke(app, shlex.split(command))


def begin(preset, *settings, out="run"):
    """A run of one's own triplets that another command began."""
    recipe = load_config(preset, None, settings).recipe
    pinned = recipe.model_copy(
        update={
            name: source.model_copy(update={"files": {"model.safetensors": "0" * 64}})
            for name in ("text_to_image", "autoencoder", "clip")
            if (source := getattr(recipe, name))
        }
    )
    run = create_run(open_store(out), pinned)
    write_plan(run, read_triplets("t.jsonl").triplets, pinned.unit_triplets)


def test_the_miniatures_own_triplets_need_no_preset_and_are_said_to_be_its():
    result = call("generate --triplets miniature --out run --limit 2 --json")
    assert result.exit_code == 0, result.output
    first = result.stderr.splitlines()[0]
    assert first == (
        "preset miniature (for its own triplets): miniature, CLIP miniature/clip, 64 px, 12 steps, "
        "8 candidates a triplet"
    )
    json.loads(result.stdout)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            "--preset miniature",
            "preset miniature: miniature, CLIP miniature/clip, 64 px, 12 steps, ",
        ),
        ("--config c.yaml", "c.yaml (base miniature): t2i, CLIP clip, 8 px, 12 steps, 2 "),
        (
            "--config c.yaml --set recipe.steps=3",
            "c.yaml (base miniature): t2i, CLIP clip, 8 px, 3 steps, 2 candidates a triplet; "
            "recipe.steps=3",
        ),
    ],
)
def test_a_start_says_first_what_it_makes_and_then_what_it_skips(options, line):
    Path("t.jsonl").write_text(GOOD + "{\n" + OTHER + GOOD)
    result = call(f"generate --triplets t.jsonl --out run --max-bad 1 {options}")
    assert result.exit_code == 0, result.output
    first, second, third, *_ = result.stderr.splitlines()
    assert first.startswith(line)
    assert second.startswith("skipped: t.jsonl:2: ")
    assert third == "1 duplicate triplet collapsed"


def test_every_model_is_named():
    settings = ["recipe.loras=[{source: a/b, revision: x}]"]
    choice = choose("paper", None, settings, "t.jsonl")
    from factory.verbs.headline import headline

    for name in ("stable-diffusion-v1-5/", "autoencoder stabilityai/", "CLIP timm/", "LoRA a/b"):
        assert name in headline(choice)
    assert "512 px, 100 steps, 100 candidates a triplet" in headline(choice)


def test_a_run_that_is_there_goes_on_with_the_preset_that_it_was_begun_with(monkeypatch):
    begun = call("generate --preset miniature --triplets t.jsonl --out run --limit 1")
    assert begun.exit_code == 0, begun.output
    again = call("generate --triplets t.jsonl --out run")
    assert again.exit_code == 0, again.output
    line = "preset miniature (which the run in run was begun with): miniature, "
    assert again.stderr.startswith(line)
    monkeypatch.setattr("factory.doctor.examination.examine", lambda *_: iter(()))
    assert call("doctor --triplets t.jsonl --out run").stderr.startswith(line)
    assert call("doctor").stderr.startswith("preset miniature (for its own triplets): ")


@pytest.mark.parametrize("settings", [(), ("recipe.steps=7",)])
def test_a_run_is_known_by_its_recipe_with_the_settings_given(settings):
    begin("paper", *settings)
    choice = choose(None, None, settings, "t.jsonl", "run")
    assert choice.origin == "preset paper (which the run in run was begun with)"
    assert choice.config == load_config("paper", None, settings)


def test_of_a_run_with_settings_of_its_own_the_nearest_preset_is_told():
    begin("paper", "recipe.steps=7", "recipe.thresholds.text=0.1")
    with pytest.raises(ConfigError) as refused:
        choose(None, None, (), "t.jsonl", "run")
    assert (
        "run holds a run by --preset paper but for steps: 100 -> 7; thresholds.text: 0.2 -> 0.1; "
        "presets: " in str(refused.value)
    )


def test_without_a_preset_a_list_is_read_and_counted(capsys):
    result = call("plan --triplets t.jsonl --json")
    found = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (found["triplets"], found["duplicates"], found["bad_lines"]) == (2, 0, 0)
    assert found["units"] is found["rows"] is found["gpu_hours"] is found["cost"] is None
    result = call("plan --triplets t.jsonl")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["triplets    2", "duplicates  0", "bad lines   0"]
    assert "all else depends on --preset or --config; presets: fast (" in result.stderr


def test_plan_names_the_preset_that_it_counts_by():
    result = call("plan --triplets t.jsonl --preset fast")
    assert result.stderr.startswith("preset fast: stable-diffusion-v1-5/")


def training(*settings, preset="paper"):
    law = read_config(Fit, FIT_PRESETS, preset, None, settings).law
    law = law.model_copy(update={"model": law.model.model_copy(update={"files": {"a": "0" * 64}})})
    record = TrainingRecord(
        law=json.loads(law.model_dump_json()), law_hash=law.law_hash, dataset="0" * 64
    )
    open_store("out").put_new("FIT.json", to_stamped_json(record))


def test_pairs_that_the_miniature_made_are_trained_on_with_the_miniature(monkeypatch):
    begin("miniature", out="dataset")
    choice = choose_fit(None, None, (), "dataset", "out")
    assert choice.origin == "preset miniature (by which the dataset was made)"
    begin("paper", out="other")
    sealed = find_files(write_pairs(Path("pairs")))
    monkeypatch.setattr("trainer.preset_choice.find_files", lambda *_, **__: sealed)
    with pytest.raises(
        ConfigError, match="must be given for this dataset, got neither; presets: mini"
    ):
        choose_fit(None, None, (), "other", "out")


@pytest.mark.parametrize("steps", [[], ["law.steps=12000"]])
def test_a_training_that_is_there_goes_on_with_the_preset_that_it_was_begun_with(steps):
    training()
    choice = choose_fit(None, None, steps, "pairs", "out")
    assert choice.origin == "preset paper (which the training in out was begun with)"
    assert choice.config == read_config(Fit, FIT_PRESETS, "paper", None, steps)


def test_of_a_training_with_settings_of_its_own_the_nearest_preset_is_told():
    training("law.batch=64")
    write_pairs(Path("pairs"))
    nearest = "out holds a training by --preset paper but for batch: 1024 -> 64"
    with pytest.raises(ConfigError, match=nearest):
        choose_fit(None, None, (), "pairs", "out")


@pytest.mark.parametrize("verb", ["fit", "encode"])
@pytest.mark.parametrize("dataset", ["nope", "nope.parquet"])
def test_a_dataset_that_is_not_there_is_told_before_a_preset_is_asked_for(verb, dataset):
    result = call(f"{verb} --dataset {dataset} --out out")
    assert (result.exit_code, "preset" in result.stderr) == (2, False)
    assert f"{dataset}: must be a sealed run" in result.stderr


def test_what_cannot_be_read_at_the_output_is_left_to_who_opens_it():
    Path("run").mkdir()
    Path("run/RUN.json").write_text("{")
    with pytest.raises(
        ConfigError, match="must be given for triplets of your own, got neither; presets"
    ):
        choose(None, None, (), "t.jsonl", "run")
    assert choose(None, None, (), "miniature", "run").config == load_config("miniature")
    result = call("generate --triplets miniature --out run")
    assert (result.exit_code, "not a run record" in result.stderr) == (3, True)


def test_a_list_that_cannot_be_read_is_told_before_a_preset_is_asked_for():
    Path("t.jsonl").write_text("{\n")
    result = call("generate --triplets t.jsonl --out run")
    assert (result.exit_code, result.stderr[:21]) == (2, "editmill: t.jsonl:1: ")


def test_wrong_settings_are_told_before_a_preset_is_asked_for():
    result = call("generate --triplets t.jsonl --out run --set steps=2")
    assert "did you mean 'recipe.steps'?" in result.stderr
