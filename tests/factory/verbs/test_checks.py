"""`--check`: what a start would refuse is refused, nothing is written, what is elsewhere passed over."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from editmill import app
from factory.console.check import LOCAL_PATHS, NOTHING_WRONG, UNSEEN
from factory.console.config import load_config
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.models.pin import pin
from factory.pairs.triplets import read_triplets
from factory.storage.open import open_store
from schemas.recipe import Recipe
from tests.factory.storage.conftest import bucket_of, moto
from tests.servers.fixtures import S3Access

__all__ = ["moto"]
ELSEWHERE = json.dumps([LOCAL_PATHS])


def check(*words: str, unseen: str = "[]", **environment: str | None) -> Result:
    return CliRunner().invoke(app, [*words, "--check"], env={UNSEEN: unseen, **environment})


def generate(
    out: Path | str, *more: str, triplets: str = "miniature", unseen: str = "[]"
) -> Result:
    words = ("generate", "--preset", "miniature", "--triplets", triplets, "--out", str(out), *more)
    return check(*words, unseen=unseen)


def begin(out: Path, recipe: Recipe | None = None, count: int = 200) -> None:
    run = create_run(open_store(str(out)), recipe or pin(load_config("miniature").recipe))
    write_plan(run, read_triplets("miniature").triplets[:count], 2)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_start_that_would_begin_passes_and_leaves_nothing(tmp_path: Path) -> None:
    done = generate(tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.splitlines()[-1] == NOTHING_WRONG
    assert done.stdout == ""
    assert files(tmp_path) == []


def test_so_does_one_that_would_go_on(tmp_path: Path) -> None:
    begin(tmp_path)
    before = files(tmp_path)
    assert generate(tmp_path).exit_code == 0
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--preset", "papier"), "--preset: must be one of fast, miniature, paper, got 'papier'"),
        (
            ("--set", "recipe.stepz=1"),
            "--set: unknown key 'recipe.stepz'; did you mean 'recipe.steps'",
        ),
        (("--deadline", "soon"), "--deadline: must be an ISO datetime"),
        (("--triplets", "none.jsonl"), "none.jsonl: no such file"),
        (("--set", "recipe.clip={source: /none}"), "/none: no such file or folder"),
        (("--out", "gs://bucket/run"), "store: expected s3://bucket/prefix"),
    ],
)
def test_what_is_wrong_with_the_words_is_refused(
    tmp_path: Path, more: tuple[str, str], message: str
) -> None:
    done = generate(tmp_path / "run", *more)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_root_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    stranger, other, fewer = tmp_path / "stranger", tmp_path / "other", tmp_path / "fewer"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("mine")
    done = generate(stranger)
    assert (done.exit_code, "must be empty or a run of editmill" in done.stderr) == (2, True)
    begin(other, pin(load_config("miniature", None, ["recipe.steps=9"]).recipe))
    done = generate(other)
    assert (done.exit_code, "differing: steps: 9 -> 12" in done.stderr) == (2, True)
    begin(fewer, count=10)
    done = generate(fewer)
    assert (done.exit_code, "the list given adds 190" in done.stderr) == (2, True)
    assert generate(fewer, "--extend").exit_code == 0


def test_a_recipe_whose_models_are_elsewhere_is_compared_without_them(
    tmp_path: Path,
) -> None:
    recipe = pin(load_config("miniature").recipe)
    far = recipe.model_copy(
        update={"clip": recipe.clip.model_copy(update={"source": "s3://bucket/clip"})}
    )
    begin(tmp_path, far)
    unseen = json.dumps(["s3://bucket/clip"])
    same = ("--set", "recipe.clip={source: s3://bucket/clip}")
    done = generate(tmp_path, *same, unseen=unseen)
    assert done.exit_code == 0, done.stderr
    assert "clip s3://bucket/clip: is looked at where and when it runs" in done.stderr
    done = generate(tmp_path, *same, "--set", "recipe.steps=9", unseen=unseen)
    assert (done.exit_code, "differing: steps: 12 -> 9" in done.stderr) == (2, True)


def test_paths_of_another_machine_are_passed_over_and_said(tmp_path: Path) -> None:
    done = generate("/mnt/run", triplets="/mnt/t.jsonl", unseen=ELSEWHERE)
    assert done.exit_code == 0, done.stderr
    for what in ("--triplets /mnt/t.jsonl", "--out /mnt/run"):
        assert f"{what}: is looked at where and when it runs" in done.stderr
    # What is bundled is there as well.
    assert "--triplets" not in generate("/mnt/run", unseen=ELSEWHERE).stderr


def test_places_that_are_yet_to_be_filled_are_passed_over(tmp_path: Path) -> None:
    list_to_come = f"{tmp_path}/captions/triplets.jsonl"
    done = generate(tmp_path / "run", triplets=list_to_come)
    assert done.exit_code == 2
    unseen = json.dumps([f"{tmp_path}/captions"])
    assert generate(tmp_path / "run", triplets=list_to_come, unseen=unseen).exit_code == 0
    beside = f"{tmp_path}/captions2/triplets.jsonl"
    assert generate(tmp_path / "run", triplets=beside, unseen=unseen).exit_code == 2


def edit(images: Path | str, out: Path | str, *more: str, unseen: str = "[]") -> Result:
    words = ("edit", "--preset", "miniature", "--images", str(images), "--out", str(out), *more)
    return check(*words, unseen=unseen)


RED = ("--instruction", "make it red")


def test_edits_are_looked_at_before_they_are_begun(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    done = edit(images, tmp_path / "out", *RED)
    assert (done.exit_code, "must hold at least one object, got none" in done.stderr) == (2, True)
    Image.new("RGB", (8, 8)).save(images / "one.png")
    done = edit(images, tmp_path / "out", *RED)
    assert done.exit_code == 0, done.stderr
    assert files(tmp_path) == ["images/one.png"]
    for more, message in (
        ((), "--instruction: must be given with --images, got none"),
        ((*RED, "--editor", "sdedit"), "--editor sdedit: needs target_caption, got none"),
        ((*RED, "--editor", "odd"), "recipe.editor"),
    ):
        done = edit(images, tmp_path / "out", *more)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    done = edit(images, images / "out", *RED)
    assert (done.exit_code, "must not lie below --images" in done.stderr) == (2, True)
    assert edit("/mnt/images", "/mnt/images/out", *RED, unseen=ELSEWHERE).exit_code == 2
    assert edit("/mnt/images", "/mnt/out", *RED, unseen=ELSEWHERE).exit_code == 0
    assert edit("/mnt/images", "/mnt/out", *RED).exit_code == 2


def test_of_a_bucket_what_is_missing_is_refused_and_what_keys_forbid_is_said(
    moto: S3Access, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moto.export(monkeypatch)
    bucket = f"s3://{bucket_of(moto)}"
    triplets = f"{bucket}/{tmp_path.name}.jsonl"
    done = generate(f"{bucket}/run", triplets=triplets, unseen=ELSEWHERE)
    assert (done.exit_code, f"{triplets}: no such object" in done.stderr) == (2, True)
    line = '{"input": "a red circle", "edit": "make it blue", "output": "a blue circle"}\n'
    open_store(bucket).put(f"{tmp_path.name}.jsonl", line.encode())
    done = generate(f"{bucket}/run", triplets=triplets, unseen=ELSEWHERE)
    assert done.exit_code == 0, done.stderr
    assert list(open_store(f"{bucket}/run").list()) == []
    done = generate("s3://no-such-bucket-anywhere/run", unseen=ELSEWHERE)
    assert (done.exit_code, "create the bucket" in done.stderr) == (2, True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    done = generate(f"{bucket}/run", unseen=ELSEWHERE)
    assert done.exit_code == 0, done.stderr
    assert f"--out {bucket}/run: cannot be looked at from here: " in done.stderr
    # Where it is to run here, nobody else has the keys.
    assert generate(f"{bucket}/run").exit_code == 2
