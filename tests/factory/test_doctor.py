"""The doctor: every check that fails says so with a remedy, and stops only what builds on it."""

import json
import os
import re
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factory.__main__ import app
from factory.console.config import load_config
from factory.doctor import measured_batch as batch_module
from factory.doctor.batch_sizes import batch_sizes
from factory.doctor.examination import ExaminationOrder, examine
from factory.doctor.examples import bundled, examples
from factory.doctor.finding import Finding, Level
from factory.doctor.measured_batch import MeasuredBatch, make_batch
from factory.doctor.scores import usual
from factory.errors import ModelError
from factory.pairs.generate import prepare
from factory.pairs.source import Draw, Made, NotMade
from factory.pairs.triplets import read_triplets
from factory.verbs import machine
from factory.verbs.results import print_findings
from schemas.candidate import Scores
from schemas.ledger.run import RunRecord
from schemas.recipe import ModelSource, Recipe
from schemas.running.environment import Environment
from tests.bad_input.materials import BAD, GOOD, models, restamp
from tests.bad_input.runs import other_release as stages_of_another
from tests.bad_input.unfitting import UNFITTING
from tests.factory.storage.conftest import moto, moto_bucket
from tests.factory.storage.crooked import crooked_server, cut_listings
from tests.stub_source import recipe as stub_recipe
from tests.stub_source import triplets as stub_triplets

__all__ = ["moto", "moto_bucket"]

# Whatever the preset says: these are the numbers that the stand-in's scores were chosen for.
OPTIONS = (
    "recipe.steps=20",
    "recipe.keep.most=1",
    "recipe.thresholds={image: 0.5, text: 0.95, direction: 0.85, borderline: 0.001}",
    "compute.batch_pairs=4",
)


@dataclass
class Bench:
    """A device and a source without models; what it gives can be changed."""

    kind: str = "cpu"
    dtypes: tuple[str, ...] = ("float64", "float32")
    name: str = "stub"
    total: int = 16 * 2**30
    peak_bytes: int = 2**30
    scores: Callable[[int], Scores] = lambda i: Scores(
        clip_sim_0=0.96, clip_sim_1=0.97, clip_sim_dir=0.8 + 0.1 * (i % 2), clip_sim_image=0.7
    )
    change: Callable[[Made], Made | NotMade] = lambda made: made
    rows_run: int = 0
    calls: int = 0
    hold: threading.Event | None = None
    asked: list[Draw] = field(default_factory=list)

    def free(self) -> int:
        return self.total // 2

    def held(self) -> int:
        return 2**29

    def peak(self) -> int:
        return self.peak_bytes

    def pairs(self, draws: Sequence[Draw]) -> Iterator[Made | NotMade]:
        self.calls += 1
        if self.hold:
            self.rows_run += 4 * len(draws)
            self.hold.wait(60)
        for i, draw in enumerate(draws):
            self.asked.append(draw)
            self.rows_run += 4 * 20
            pixels = np.random.default_rng(draw.seed).integers(0, 256, (2, 8, 8, 3), np.uint8)
            yield self.change(Made(draw, pixels[0], pixels[1], self.scores(i), truncated=False))

    def environment(self) -> Environment:
        raise AssertionError("not asked for")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders that pass for models, a configuration and a list, in the current folder."""
    monkeypatch.chdir(tmp_path)
    models()
    return tmp_path


def order(*settings: str, **fields: Any) -> ExaminationOrder:
    config = load_config(file=Path("c.yaml"), settings=[*OPTIONS, *settings])
    return ExaminationOrder(**{"config": config, "triplets": "t.jsonl", "out": "run"} | fields)


def found(
    asked: ExaminationOrder,
    bench: Bench | None = None,
    *,
    find: Callable[[str], Any] | None = None,
    make: Callable[[Recipe, Any], Any] | None = None,
) -> list[Finding]:
    bench = bench or Bench()
    find, make = find or (lambda _: bench), make or (lambda *_: bench)
    return list(examine(asked, find, make, lambda _: None))


def levels(findings: list[Finding]) -> dict[str, str]:
    """The worst of each check."""
    worst: dict[str, str] = {}
    for one in findings:
        if worst.get(one.check) != Level.FAILED:
            worst[one.check] = one.level
    return worst


def only(findings: list[Finding], level: Level) -> Finding:
    """The one finding of a level, which has a remedy."""
    (one,) = [finding for finding in findings if finding.level == level]
    assert one.remedy
    return one


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_a_healthy_start_passes_every_check_and_ends_with_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = order(price_per_gpu_hour=2.0)
    findings = found(asked)
    assert set(levels(findings).values()) == {Level.OK}
    assert [f.check for f in findings] == [
        *("configuration", "model files", "triplets", "store", "device", "models load", "speed"),
        *(
            "pictures",
            "clip_sim_0",
            "clip_sim_1",
            "clip_sim_dir",
            "clip_sim_image",
            "gates",
            "plan",
        ),
    ]
    assert print_findings(findings, as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "ready: 14 ok"


def test_nothing_that_the_doctor_writes_stays(folder: Path) -> None:
    before = files(folder)
    found(order())
    assert files(folder) == before


def test_one_candidate_is_made_alone_and_then_a_full_batch_of_several_kinds() -> None:
    bench = Bench()
    found(order(triplets=None), bench)
    kinds = {draw.triplet.edit_kind for draw in bench.asked[1:]}
    assert (bench.calls, len(bench.asked), len(kinds)) == (2, 5, 4)
    assert bench.asked[0] == bench.asked[1]


def test_examples_are_the_runs_own_first_draws() -> None:
    asked = stub_recipe(candidates=2)
    by_kind = sorted(stub_triplets(12), key=lambda t: str(t.edit_kind))
    drawn = examples(asked, by_kind, 6)
    assert len({(d.triplet.triplet_id, d.index) for d in drawn}) == 6
    assert len({d.triplet.edit_kind for d in drawn}) == 3
    assert len(examples(asked, stub_triplets(1), 6)) == 6


def test_the_miniature_gets_its_own_examples_and_other_models_photographs() -> None:
    of = load_config("miniature").recipe
    assert bundled(of) == read_triplets("miniature").triplets
    others = bundled(load_config("paper").recipe)
    assert all(t.original_prompt != t.edited_prompt for t in others)
    assert len({t.edit_kind for t in others}) == 4


# What fails, the check that says so, words of it and of its remedy, and what cannot be checked then.
def no_clip() -> None:
    Path("clip/open_clip_model.safetensors").write_bytes(b"version https://git-lfs")


def no_models(*_: object) -> Any:
    raise ModelError("unet: cannot load UNet2DConditionModel: ValueError: wrong shape")


def no_gpu(_: str) -> Any:
    raise ModelError("compute.device: must be a device that torch finds here, got 'cuda'")


def out_of_memory(_: Made) -> Made:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")


def stranger() -> None:
    Path("run").mkdir()
    Path("run/photo.png").write_bytes(b"a photo")


def a_file_for_a_folder() -> None:
    Path("run").write_bytes(b"a file")


def other_recipe() -> None:
    prepare(order("recipe.steps=7").config, read_triplets("t.jsonl"), "run")


def other_release() -> None:
    prepare(order().config, read_triplets("t.jsonl"), "run")
    restamp("run/RUN.json", RunRecord, stages_of_another)()


def other_list() -> None:
    Path("u.jsonl").write_text(GOOD)
    prepare(order().config, read_triplets("u.jsonl"), "run")


def not_finite(made: Made) -> NotMade:
    return NotMade(made.draw, "picture must be finite, got nan or inf", truncated=False)


def not_tokenised(made: Made) -> NotMade:
    return NotMade(made.draw, "prompt cannot be tokenised", truncated=False)


def flat(made: Made) -> Made:
    return replace(made, edited=np.full((8, 8, 3), (9, 200, 30), np.uint8))


LATER = {"speed", "pictures", "clip_sim_0", "gates"}


@pytest.mark.parametrize(
    ("prepared", "given", "check", "words", "remedy", "not_reached"),
    [
        (no_clip, {}, "model files", "git-lfs pointer", "fetch the model again", LATER),
        (None, {"make": no_models}, "models load", "wrong shape", "revision", LATER),
        (None, {"find": no_gpu}, "device", "got 'cuda'", "CUDA build of torch", LATER),
        (
            None,
            {"change": out_of_memory},
            "speed",
            "out of memory",
            "larger device",
            {"clip_sim_0"},
        ),
        (stranger, {}, "store", "must be empty", "empty folder", {"run there"}),
        (a_file_for_a_folder, {}, "store", "Not a directory", "choose a folder", {"run there"}),
        (other_recipe, {}, "run there", "steps: 7 -> 20", "new --out", set()),
        (other_release, {}, "run there", "begun by another release", "that release", set()),
        (other_list, {}, "run there", "1 triplets there, 2", "new --out", set()),
        (None, {"change": not_finite}, "pictures", "4 of 4 .* finite", "dtype", {"clip_sim_0"}),
        (None, {"change": not_tokenised}, "pictures", "tokenised", "--triplets", {"clip_sim_0"}),
        (None, {"change": flat}, "pictures", "4 of 4 pairs .* one colour", "scheduler", set()),
    ],
)
def test_a_failed_check_shows_its_remedy_ends_with_2_and_stops_no_other(
    prepared: Callable[[], None] | None,
    given: dict[str, Any],
    check: str,
    words: str,
    remedy: str,
    not_reached: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    if prepared:
        prepared()
    bench = Bench(**{name: value for name, value in given.items() if name == "change"})
    makers = {name: value for name, value in given.items() if name != "change"}
    findings = found(order(), bench, **makers)
    one = only(findings, Level.FAILED)
    assert one.check == check
    assert re.search(words, one.found), one.found
    assert remedy in one.remedy
    healthy = {f.check for f in findings if f.level == Level.OK}
    assert not not_reached & healthy
    assert {"configuration", "triplets", "device", "store"} - {check} <= healthy
    assert levels(findings)["plan"] in (Level.OK, Level.WARNING)
    assert print_findings(findings, as_json=False) == 2
    shown = capsys.readouterr().out
    assert f"failed       {check}" in shown
    assert f"-> {one.remedy}" in shown
    assert shown.splitlines()[-1].startswith("not ready: ")


def test_every_missing_model_is_named_with_the_way_to_get_it(folder: Path) -> None:
    settings = ("recipe.text_to_image.source=gone", "recipe.clip.source=gone/clip")
    findings = [f for f in found(order(*settings)) if f.level == Level.FAILED]
    assert [f.found.split(":")[0] for f in findings] == ["recipe.text_to_image", "recipe.clip"]
    assert all("source=FOLDER" in f.remedy for f in findings)


def test_a_store_that_cannot_be_written_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("factory.storage.local.create", refuse)
    one = only(found(order()), Level.FAILED)
    assert (one.check, "Permission denied" in one.found) == ("store", True)
    assert one.remedy == "choose a folder that this user may read and write"


def test_a_bucket_whose_listings_are_cut_without_a_token_is_found(
    moto_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with crooked_server(cut_listings(os.environ["AWS_ENDPOINT_URL"], most=1)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        one = only(found(order(out=moto_bucket)), Level.FAILED)
    cut = "ListObjectsV2 cut the listing and gave no token"
    assert (one.check, one.found) == ("store", f"{moto_bucket}: {cut}")
    assert one.remedy == "this server cannot be used"


def test_a_store_with_two_winners_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.storage.probe.weakness", lambda _: "2 of 8 were accepted")
    findings = found(order())
    assert levels(findings)["store"] == Level.OK, "runs go on there, so it is no failure"
    (one,) = (finding for finding in findings if finding.check == "store")
    assert "attempts are committed side by side: 2 of 8 were accepted" in one.found
    assert one.figures["weak"]


def test_a_bad_list_leaves_the_pictures_to_bundled_examples() -> None:
    Path("t.jsonl").write_text(GOOD + BAD)
    findings = found(order())
    one = only(findings, Level.FAILED)
    assert (one.check, "--max-bad" in one.remedy) == ("triplets", True)
    assert levels(findings)["pictures"] == Level.OK
    assert levels(findings)["plan"] == Level.SKIPPED
    assert levels(found(order(max_bad=1)))["triplets"] == Level.OK


def test_what_is_not_given_is_said_to_be_unchecked() -> None:
    findings = found(order(triplets=None, out=None))
    unchecked = {f.check: f.found for f in findings if f.level == Level.SKIPPED}
    assert unchecked["store"] == "give --out"
    assert unchecked["plan"] == "give --triplets"
    assert print_findings(findings, as_json=False) == 0


@pytest.mark.parametrize(
    ("settings", "bench", "check", "words", "remedy"),
    [
        ("recipe.size_px=512", {}, "device", "512 px on a CPU", "GPU"),
        ("recipe.dtype=float16", {}, "device", "float16 is slow", "recipe.dtype=float32"),
        ("recipe.steps=20", {"peak_bytes": 15 * 2**30}, "speed", "nearly all", "batch_pairs"),
        ("recipe.thresholds.text=0.99", {}, "clip_sim_0", "0 of 4 reach the gate", "lower"),
        ("recipe.thresholds.direction=0.1", {}, "gates", "4 of 4", "nothing is filtered"),
        ("recipe.thresholds.direction=0.95", {}, "gates", "0 of 4", "status"),
        ("compute.gpus_per_worker=1", {}, "plan", "speed of this CPU", "workers'"),
    ],
)
def test_a_warning_has_a_remedy_and_still_ends_with_0(
    settings: str, bench: dict[str, Any], check: str, words: str, remedy: str
) -> None:
    findings = found(order(settings), Bench(**bench))
    warnings = [f for f in findings if f.level == Level.WARNING and f.check == check]
    assert any(words in f.found and remedy in f.remedy for f in warnings), findings
    assert print_findings(findings, as_json=False) == 0


def test_gates_that_are_switched_off_are_no_warning() -> None:
    off = [f"recipe.thresholds.{name}=0" for name in ("text", "image", "direction")]
    assert levels(found(order(*off)))["gates"] == Level.OK


def test_a_candidate_that_changes_with_its_batch_is_a_warning() -> None:
    bench = Bench()

    def by_call(made: Made) -> Made:
        return replace(made, original=made.original + np.uint8(bench.calls))

    bench.change = by_call
    assert levels(found(order(), bench))["repeats"] == Level.WARNING
    assert "repeats" not in levels(found(order()))


def test_a_device_too_slow_for_one_batch_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_module, "POLL_S", 0.01)
    bench = Bench(hold=threading.Event())
    made = make_batch(
        bench, stub_recipe(), examples(stub_recipe(), stub_triplets(3), 4), bench, patience_s=1.0
    )
    one = next(made)
    with pytest.raises(StopIteration) as ended:
        next(made)
    assert bench.hold
    bench.hold.set()
    assert (one.check, one.level, "GPU" in one.remedy) == ("speed", Level.WARNING, True)
    assert ended.value.value.outcomes == []
    assert ended.value.value.rows_per_s > 0


def sizes_tried(rates: dict[int, float], configured: int = 8, patience_s: float = 60.0) -> Finding:
    """What is found where batches of so many pairs run at these rows per second."""

    def seconds(pairs: int) -> float:
        if pairs not in rates:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return 4 * pairs / rates[pairs]

    (one,) = batch_sizes(configured, MeasuredBatch([], rows_per_s=40.0), seconds, patience_s)
    return one


def test_the_fastest_batch_size_is_named_and_a_clearly_slower_one_warned_of() -> None:
    slow = sizes_tried({1: 50, 2: 48, 4: 44, 8: 40, 16: 38})
    assert (slow.level, slow.figures["fastest"]) == (Level.WARNING, 1)
    assert "8 pairs run at 0.80 of the best rate; fastest with 1 pairs: 50.0 rows/s" in slow.found
    assert slow.remedy.startswith("--set compute.batch_pairs=1 ")
    near = sizes_tried({1: 42, 2: 41, 4: 40, 8: 40, 16: 38})
    assert (near.level, near.figures["fastest"], near.remedy) == (Level.OK, 1, "")
    larger = sizes_tried({1: 10, 2: 20, 4: 40, 8: 80, 16: 160})
    assert larger.remedy.startswith("--set compute.batch_pairs=16 ")


def test_a_batch_size_that_does_not_fit_is_left_out() -> None:
    found = sizes_tried({1: 50, 2: 50, 4: 50, 8: 50})
    assert sorted(found.figures["rows_per_s"]) == [1, 2, 4, 8]
    with pytest.raises(RuntimeError, match="out of memory"):
        sizes_tried({1: 50, 2: 50, 4: 50})


def test_one_quick_moment_of_another_batch_size_is_no_warning() -> None:
    calls: Counter[int] = Counter()

    def seconds(pairs: int) -> float:
        calls[pairs] += 1
        return 4 * pairs / (60 if (pairs, calls[pairs]) == (1, 3) else 40)

    (one,) = batch_sizes(8, MeasuredBatch([], rows_per_s=1e6), seconds)
    assert (one.level, one.figures["fastest"]) == (Level.OK, 1)


def test_sizes_are_not_tried_longer_than_there_is_patience() -> None:
    tried: list[int] = []

    def seconds(pairs: int) -> float:
        tried.append(pairs)
        return 1000.0

    (one,) = batch_sizes(8, MeasuredBatch([], rows_per_s=1e6), seconds, patience_s=1.0)
    assert (one.level, one.remedy) == (Level.SKIPPED, "")
    assert sorted(tried) == [1, 2, 4, 8, 16]


def test_other_batch_sizes_are_tried_with_the_doctors_own_draws() -> None:
    asked: list[int] = []

    @contextmanager
    def steps(source: Any, draws: Sequence[Draw]) -> Iterator[Callable[[int], float]]:
        assert len(draws) == 4

        def seconds(pairs: int) -> float:
            asked.append(pairs)
            return pairs / 10

        yield seconds

    bench = Bench()
    findings = list(examine(order(), lambda _: bench, lambda *_: bench, lambda _: None, steps))
    assert set(asked) == {1, 2, 4, 8}
    assert levels(findings)["batch size"] == Level.OK
    assert findings[-1].check == "plan"


def calibrate(passing: float | None = None, **ranges: tuple[float, float]) -> None:
    wide = {name: (0.5, 1.0) for name in Scores.model_fields}
    report = {} if passing is None else {"report": {"passing": passing}}
    Path("calibration.json").write_text(json.dumps({"score_ranges": wide | ranges} | report))


@pytest.mark.parametrize(
    ("settings", "passing", "pairs", "level"),
    [
        # That none of a few passes may be chance; how many are a few depends on how many usually do.
        ("direction: 0.95", 0.3, 8, Level.OK),
        ("direction: 0.95", 0.5, 8, Level.WARNING),
        ("direction: 0.95", None, 8, Level.WARNING),
        ("direction: 0.1", 0.3, 1, Level.OK),
        ("direction: 0.1", 0.3, 8, Level.WARNING),
        # Nothing is known: four may tell, one cannot.
        ("direction: 0.1", None, 1, Level.OK),
        ("direction: 0.1", None, 4, Level.WARNING),
    ],
)
def test_what_chance_alone_often_does_to_a_few_candidates_is_no_warning(
    settings: str, passing: float | None, pairs: int, level: Level
) -> None:
    calibrate(passing)
    thresholds = f"recipe.thresholds={{image: 0.5, text: 0.95, {settings}}}"
    triplets = [json.dumps({"input": f"a {i}", "edit": "e", "output": f"b {i}"}) for i in range(4)]
    Path("t.jsonl").write_text("\n".join(triplets))
    findings = found(order(thresholds, f"compute.batch_pairs={pairs}"))
    by_check = levels(findings)
    assert by_check.pop("gates") == level
    assert set(by_check.values()) == {Level.OK}


def test_a_score_or_two_outside_of_what_is_usual_is_no_warning() -> None:
    calibrate(clip_sim_image=(0.1, 0.3))
    one = found(order("compute.batch_pairs=1"))
    assert levels(one)["clip_sim_image"] == Level.OK
    assert levels(found(order()))["clip_sim_image"] == Level.WARNING


def test_a_gate_above_all_that_is_usual_is_a_warning() -> None:
    calibrate(clip_sim_dir=(0.5, 0.93))
    findings = found(order("recipe.thresholds.direction=0.95", "compute.batch_pairs=1"))
    assert levels(findings)["clip_sim_dir"] == Level.WARNING
    assert levels(findings)["gates"] == Level.WARNING


def test_scores_inside_the_calibrated_ranges_are_fine_and_others_warned_of() -> None:
    calibrate()
    assert set(levels(found(order())).values()) == {Level.OK}
    calibrate(clip_sim_image=(0.1, 0.3))
    one = only(found(order()), Level.WARNING)
    assert one.check == "clip_sim_image"
    assert "usual 0.10 to 0.30 by its calibration" in one.found
    assert "thresholds would not mean what they say" in one.remedy
    assert one.figures["usual"] == [0.1, 0.3]


def test_captions_of_another_world_than_the_miniatures_are_called_so() -> None:
    calibrate(clip_sim_image=(0.1, 0.3))
    ours = "recipe.text_to_image={source: miniature}"
    one = only(found(order(ours)), Level.WARNING)
    assert (one.check, "captions of its own world alone" in one.remedy) == ("clip_sim_image", True)
    one = only(found(order(ours, triplets="miniature")), Level.WARNING)
    assert "pre-processing or weights differ" in one.remedy


def open_clip_config(quick_gelu: bool, layers: int = 24) -> None:
    tower = {"image_size": 224, "layers": layers, "width": 1024, "patch_size": 14}
    model = {"embed_dim": 768, "quick_gelu": quick_gelu, "vision_cfg": tower}
    Path("clip/open_clip_config.json").write_text(json.dumps({"model_cfg": model}))


def test_openais_vit_l14_is_known_by_its_shape_or_name_and_no_other_clip() -> None:
    clip = ModelSource(source="clip")
    assert usual(clip) is None
    assert "no usual range is known" in found(order())[8].found
    open_clip_config(quick_gelu=True)
    known = usual(clip)
    assert known
    assert known.where_from == "OpenAI's ViT-L/14"
    assert usual(clip.model_copy(update={"name": "ViT-L-14-quickgelu"})) == known
    open_clip_config(quick_gelu=False)
    assert usual(clip) is None
    open_clip_config(quick_gelu=True, layers=12)
    assert usual(clip) is None


def test_the_released_gates_lie_inside_the_usual_ranges_of_their_clip() -> None:
    open_clip_config(quick_gelu=True)
    known = usual(ModelSource(source="clip"))
    assert known
    gates = load_config("paper").recipe.thresholds
    for name, least in {
        "clip_sim_0": gates.text,
        "clip_sim_1": gates.text,
        "clip_sim_dir": gates.direction,
        "clip_sim_image": gates.image,
    }.items():
        low, high = known.ranges[name]
        assert low < least < high


def test_the_plan_counts_hours_cost_and_the_bytes_of_the_pictures_made() -> None:
    findings = found(order("compute.max_workers=2", price_per_gpu_hour=3.0))
    rate = next(f for f in findings if f.check == "speed").figures["rows_per_s"]
    plan = findings[-1].figures
    assert plan["rows"] == 2 * 2 * 20 * 4
    assert plan["gpu_hours"] == pytest.approx(plan["rows"] / rate / 3600)
    assert plan["hours"] == pytest.approx(plan["gpu_hours"] / 2)
    assert plan["cost"] == pytest.approx(plan["gpu_hours"] * 3)
    assert found(order(gpus=5))[-1].figures["gpus"] == plan["units"] == 2
    # Two pairs of two 8x8 pictures of noise as PNG: 192 bytes of pixels and the format's own.
    beside = plan["units"] * 48 * 1024 + plan["candidates"] * 256
    assert 2 * 2 * 192 < plan["storage_bytes"] - beside < 2 * 2 * 400


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    no_clip()
    assert print_findings(found(order()), as_json=True) == 2
    (line,) = capsys.readouterr().out.splitlines()
    shown = json.loads(line)
    assert shown["exit_code"] == 2
    failed = [check for check in shown["checks"] if check["level"] == "failed"]
    assert shown["counts"]["failed"] == len(failed) == 1
    assert failed[0]["remedy"]


def test_a_bad_configuration_ends_with_2_as_everywhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        app(shlex.split("doctor --set recipe.step=2 --json"))
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert "did you mean 'recipe.steps'?" in shown.err


def test_a_real_family_is_loaded_sampled_and_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.factory.engine.family import CAPTIONS, save_family
    from tests.factory.engine.tiny import IMAGE_SIDE

    save_family(tmp_path / "family")
    lines = [{"input": a, "edit": "e", "output": b} for a, b in CAPTIONS]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    settings = [
        *("recipe.text_to_image.source=family/text_to_image", "recipe.clip.source=family/clip"),
        *(f"recipe.size_px={IMAGE_SIDE}", "recipe.steps=2", "compute.batch_pairs=2"),
        "compute.threads=1",
    ]
    options = " ".join(f"--set {setting}" for setting in settings)
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(f"doctor --config c.yaml --triplets t.jsonl --out run --json {options}"))
    shown = json.loads(capsys.readouterr().out)
    checks = {check["check"]: check for check in shown["checks"]}
    assert ended.value.code == 0, checks
    assert checks["speed"]["figures"]["rows_per_s"] > 0
    assert checks["speed"]["figures"]["peak_bytes"] > checks["models load"]["figures"]["bytes"]
    assert "repeats" not in checks
    assert checks["pictures"]["found"] == f"2 pairs of {IMAGE_SIDE} px, finite, not flat"
    assert -1 <= checks["clip_sim_dir"]["figures"]["median"] <= 1
    assert checks["plan"]["figures"]["units"] == 4
    sizes = checks["batch size"]["figures"]
    assert sorted(sizes["rows_per_s"]) == ["1", "2", "4"]
    assert sizes["configured"] == 2


PARTS = {case.id: case for case in UNFITTING}


@pytest.mark.parametrize(
    "name",
    [
        "another width of context",
        "an autoencoder of another family",
        "a weight that is missing",
        "CLIP in transformers' layout",
        "LoHa as a LoRA",
    ],
)
def test_parts_that_do_not_fit_are_told_as_generate_tells_them_before_anything_is_loaded(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = PARTS[name]
    for step in case.steps:
        step()

    def load(*_: Any) -> Any:
        raise AssertionError("loaded")

    monkeypatch.setattr(machine, "engine", load)
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(case.command))
    assert ended.value.code == 2
    sentence = capsys.readouterr().err.removeprefix("editmill: ").removesuffix("\n")
    assert re.fullmatch(case.message, sentence)
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(case.command.replace("generate", "doctor", 1)))
    assert ended.value.code == 2
    checks = json.loads(capsys.readouterr().out)["checks"]
    (failed,) = [check for check in checks if check["level"] == "failed"]
    assert (failed["check"], failed["found"]) == ("model files", sentence)
    assert failed["remedy"]
    assert {one["level"] for one in checks if one["check"] == "models load"} == {"not checked"}


@pytest.mark.long
def test_the_miniatures_own_preset_is_no_reason_for_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        app(shlex.split("doctor --preset miniature --json"))
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [check for check in checks if check["level"] in ("failed", "warning")] == []
    assert {"models load", "pictures", "gates", "batch size"} <= {
        check["check"] for check in checks
    }
    assert ended.value.code == 0
