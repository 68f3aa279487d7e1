"""Everything an operator can get wrong, and the one line that says where, which rule, and what."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from factory.__main__ import app
from factory.config import load_config
from factory.here import run_here
from factory.job import prepare, run_job
from factory.model_files import MINIATURE
from factory.pair_source import Draw, Made, NotMade
from factory.triplets import read_triplets
from schemas.candidate import Scores
from schemas.commit import Environment
from tests.servers.fixtures import S3Access

ROOT = Path(__file__).parents[2]
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
Step = Callable[[], object]
"""Prepares something in the current folder."""


@dataclass(frozen=True)
class Case:
    """A command that is refused; `message` describes all of the line after `editmill: `."""

    id: str
    command: str
    message: str
    steps: tuple[Step, ...] = ()
    code: int = 2


def case(id: str, command: str, message: str, *steps: Step, code: int = 2) -> Case:
    return Case(id, command, message, steps, code)


def write(name: str, content: str | bytes) -> Step:
    def step() -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return step


def remove(name: str) -> Step:
    return lambda: shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink()


def cut(name: str, count: int) -> Step:
    return lambda: Path(name).write_bytes(Path(name).read_bytes()[:-count])


def replace(name: str, old: str, new: str) -> Step:
    def step() -> None:
        text = Path(name).read_text()
        assert old in text
        Path(name).write_text(text.replace(old, new))

    return step


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def not_unicode() -> pa.Array:
    buffers = [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    return pa.Array.from_buffers(pa.string(), 1, buffers)


def safetensors(size: int = 4) -> bytes:
    entry = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"weight": entry, "__metadata__": {"format": "pt"}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


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
def run_files() -> dict[Path, bytes]:
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


PLAN = "plan --json --triplets"
GENERATE = "generate --json --triplets t.jsonl --config c.yaml --out run"
SHOW = "config show"
WEIGHTS = r"weights must be \.safetensors files, got"


def listed(id: str, content: str | bytes, message: str, name: str = "t.jsonl") -> Case:
    return case(id, f"{PLAN} {name}", message, write(name, content))


def configured(id: str, text: str | bytes, message: str) -> Case:
    return case(id, f"{SHOW} --config c.yaml", rf"c\.yaml{message}", write("c.yaml", text))


def with_models(id: str, options: str, message: str, *steps: Step) -> Case:
    return case(id, f"{GENERATE} {options}", message, models, *steps)


LIST = [
    case("a missing list", f"{PLAN} no.jsonl", r"no\.jsonl: no such file"),
    case("a folder as a list", f"{PLAN} .", r"\.: cannot be read: Is a directory"),
    case("a line feed in a name", f"{PLAN} 'a\nb'", r"a\\nb: no such file"),
    listed("an empty list", "", r"t\.jsonl: must hold at least one triplet, got 0 .*"),
    listed("only blank lines", "\n \r\n", r"t\.jsonl: must hold .*, got 0 .*"),
    listed(
        "broken JSON on line 2",
        GOOD + '{"input": \n',
        r"t\.jsonl:2: must be JSON, got 'Expecting value' at column 11 \(1 bad line, .*\)",
    ),
    listed("a cut last line", GOOD + OTHER[:-9], r"t\.jsonl:2: must be JSON, got .*"),
    listed("NaN", GOOD[:-2] + ', "x": NaN}', r"t\.jsonl:1: must be JSON, got 'NaN.*"),
    listed(
        "a field given twice",
        GOOD[:-2] + ', "edit": "x"}',
        r"t\.jsonl:1: must be JSON, got 'edit given twice' .*",
    ),
    listed("nesting", '{"a":' + "[" * 99_999, r"t\.jsonl:1: .*, got .* nested .*"),
    listed("a number of 5,000 digits", f'{{"a": {"9" * 5000}}}', r".*:1: .*, got .*"),
    listed("a line of 2 MB", f'"{"x" * 2_000_000}"', r".*:1: .* 1000000 .*, got 2.*"),
    listed("a number as a line", "17", r".*:1: line must be a JSON object, got 17 .*"),
    listed("null as a line", "null", r".*:1: line must be a JSON object, got null .*"),
    listed(
        "a missing field",
        GOOD + '{"input": "a", "output": "b"}',
        r't\.jsonl:2: field "edit": expected one of edit_prompt, edit, got .*input, output.*',
    ),
    listed("null in a field", GOOD + BAD, r'.*:2: field "edit": .* text, got null .*'),
    listed("an empty field", BAD.replace("null", '" "'), r'.*"edit": .*, got \' \' .*'),
    listed("a number as text", BAD.replace("null", "7"), r'.*"edit": .* text, got 7 .*'),
    listed(
        "half a surrogate pair",
        BAD.replace("null", '"\\ud800"'),
        r't\.jsonl:1: field "edit": must be text, got half a surrogate pair .*',
    ),
    listed(
        "an edit that changes nothing",
        GOOD.replace("a dog", "a cat"),
        r"t\.jsonl:1: edited prompt must differ from the original, got 'a cat' .*",
    ),
    listed(
        "bad UTF-8",
        GOOD.encode() + b'{"input": "\xff"}',
        r"t\.jsonl:2: must be UTF-8, got byte 0xff at 11 .*",
    ),
    listed("UTF-16", GOOD.encode("utf-16"), r"t\.jsonl: must be UTF-8, got UTF-16"),
    listed("a JSON array", f"[{GOOD}]", r"t\.jsonl:1: .* per line, got a JSON array"),
    listed("gzip", b"\x1f\x8b\x08\0", r"t\.jsonl\.gz: must be .*, got gzip", "t.jsonl.gz"),
    listed(
        "a cut Parquet file",
        parquet(input=["a"], edit=["b"], output=["c"])[:-20],
        r"t\.parquet: must be a whole Parquet file, got \d+ bytes .*",
        "t.parquet",
    ),
    listed(
        "Parquet without the columns",
        parquet(text=["a"]),
        r't\.parquet: row 1: field "caption": expected one of .*, got .*',
        "t.parquet",
    ),
    listed(
        "a number in Parquet",
        parquet(input=["a", "b"], edit=["b", "c"], output=[1, 2]),
        r't\.parquet: row 1: field "output": expected non-empty text, got 1 \(2 bad .*\)',
        "t.parquet",
    ),
    listed(
        "bad UTF-8 in Parquet",
        parquet(input=not_unicode(), edit=["b"], output=["c"]),
        r"t\.parquet: must be UTF-8, got b'\\xff\\xfe'",
        "t.parquet",
    ),
    case(
        "more bad lines than --max-bad",
        f"{PLAN} t.jsonl --max-bad 1",
        r't\.jsonl:2: field "edit": .*, got null \(2 bad lines, --max-bad is 1\)',
        write("t.jsonl", GOOD + BAD + BAD),
    ),
    case(
        "only bad lines, all skipped",
        f"{PLAN} t.jsonl --max-bad 9",
        r"t\.jsonl: must hold at least one triplet, got 0 usable lines",
        write("t.jsonl", BAD),
    ),
    case(
        "a bad line under generate",
        GENERATE,
        r't\.jsonl:1: field "edit": expected non-empty text, got null .*',
        *(models, write("t.jsonl", BAD + GOOD)),
    ),
]
SETTINGS = [
    case(id, f"{SHOW} {options}", message)
    for id, options, message in [
        ("an unknown preset", "--preset big", r"--preset: must be one of .*, got 'big'"),
        (
            "a preset and a file",
            "--preset fast --config c.yaml",
            r"--preset and --config: .*, got .*",
        ),
        (
            "a missing configuration",
            "--config no.yaml",
            r"no\.yaml: cannot be read: No such file .*",
        ),
        ("a folder as a configuration", "--config .", r"\.: cannot be read: Is a directory"),
        ("--set without =", "--set recipe.steps", r"--set: must be key=value, got 'recipe.steps'"),
        ("--set without a key", "--set =5", r"--set: must be key=value, got '=5'"),
        (
            "--set in a value",
            "--set recipe.steps.x=1",
            r"--set recipe\.steps\.x: .* group, got \d+",
        ),
        (
            "--set of broken YAML",
            "--set recipe.p=[0.1",
            r"--set recipe\.p:1: not valid YAML: .*, .*",
        ),
        ("--set of nothing", "--set recipe.steps=", r"--set: recipe\.steps: .* integer, got null"),
        (
            "half a range",
            "--set recipe.p=[0.1]",
            r"--set: recipe\.p\.1: must be given, got nothing",
        ),
        (
            "a range upside down",
            "--set recipe.p=[0.9,0.1]",
            r"--set: recipe: p .*, got \[0\.9, 0\.1\]",
        ),
        ("no number", "--set recipe.p=[.nan,0.1]", r"--set: recipe\.p\.0: .* finite .*, got NaN"),
        (
            "a mistyped --set",
            "--set recipe.step=2",
            r"--set: unknown key 'recipe\.step'; .* 'steps'\?",
        ),
        ("a limit of 0", "--set budget.limit=0", r"--set: budget\.limit: .* equal to 1, got 0"),
    ]
]
FILE = [
    configured("an empty configuration", "", r": must be a YAML mapping, got null"),
    configured("a YAML list", "- base: fast\n", r": must be a YAML mapping, got \[.*\]"),
    configured("broken YAML", "base: miniature\nrecipe: [\n", r":3: not valid YAML: .*"),
    configured(
        "a key given twice", "base: fast\nbase: paper\n", r':2: .* duplicate key "base" with .*'
    ),
    configured(
        "two documents", "base: fast\n---\nbase: paper\n", r":2: not valid YAML: .* document"
    ),
    configured(
        "a control character", "base: \x01\n", r": not valid YAML: unacceptable character #x0001.*"
    ),
    configured("YAML that is not UTF-8", b"base: \xff\n", r": must be UTF-8, got a bad byte at 6"),
    configured("an unknown base", "base: big\n", r": base: must be one of .*, got 'big'"),
    configured("no recipe", "compute: {threads: 2}\n", r": recipe: must be given, got nothing"),
    configured(
        "an unknown key",
        "base: miniature\nrecipe:\n  guidence: [1, 2]\n",
        r":3: unknown key 'recipe\.guidence'; did you mean 'guidance'\?",
    ),
    configured(
        "an unknown key of a LoRA",
        "base: miniature\nrecipe:\n  loras:\n    - {source: x, scal: 2}\n",
        r":3: unknown key 'recipe\.loras\.0\.scal'; did you mean 'scale'\?",
    ),
    configured(
        "0 steps", "base: miniature\nrecipe:\n  steps: 0\n", r":3: recipe\.steps: .* to 1, got 0"
    ),
    configured(
        "half a step", "base: miniature\nrecipe: {steps: 20.5}\n", r":2: .* integer, got 20\.5"
    ),
    configured(
        "text as a number", "base: miniature\nrecipe: {steps: '20'}\n", r':2: .* integer, got "20"'
    ),
    configured(
        "a value as a group", "base: miniature\nrecipe: 5\n", r":2: recipe: .* object, got 5"
    ),
    configured(
        "5,000 digits", f"base: miniature\nrecipe: {{steps: {'9' * 5000}}}\n", r".*: not valid .*"
    ),
    configured(
        "a pool upside down",
        "base: miniature\ncompute:\n  threads: 1\n  min_workers: 4\n",
        r":4: compute: min_workers must be at most max_workers, got 4 and 1",
    ),
]

BUDGET = [
    case(
        "no GPU-hours",
        f"{GENERATE} --max-gpu-hours 0",
        r".*max.gpu.hours.* than 0, got 0.*",
        models,
    ),
    case(
        "NaN hours",
        f"{GENERATE} --max-gpu-hours nan",
        r".*max.gpu.hours.* number, got .nan.*",
        models,
    ),
    case(
        "no date", f"{GENERATE} --deadline soon", r".*deadline: .* datetime.*, got .soon.*", models
    ),
]
MODELS = [
    with_models(
        "a model folder that is missing",
        "--set recipe.clip.source=no/where/here",
        r"no/where/here: no such file or folder, and not a hub id owner/name",
    ),
    with_models(
        "an unknown user's folder",
        "--set recipe.clip.source=~nobody-here/clip",
        r"~nobody-here/clip: no such file or folder, .*",
    ),
    with_models(
        "a name longer than any file's",
        f"--set recipe.clip.source={'x' * 300}",
        r"x{300}: no such file or folder, .*",
    ),
    with_models(
        "a hub id without a revision",
        "--set recipe.clip.source=owner/name",
        r"owner/name: no such folder here; a hub id needs `revision`, .*, got None",
    ),
    with_models(
        "a hub id with a branch",
        "--set 'recipe.clip={source: owner/name, revision: main}'",
        r"owner/name: .* a hub id needs `revision`, a commit of 40 hex digits, got 'main'",
    ),
    with_models(
        "a model without a U-Net",
        "",
        r"t2i: must be a model's folder with unet/config\.json, got scheduler, .*, vae",
        remove("t2i/unet"),
    ),
    with_models(
        "a model without a tokenizer",
        "",
        r"t2i: must be a model's folder with tokenizer/.*\.json, got scheduler, .*, vae",
        remove("t2i/tokenizer"),
    ),
    with_models(
        "a single file of something else",
        "--set recipe.text_to_image.source=sd.safetensors",
        r"sd\.safetensors: must hold Stable Diffusion's UNet .*, got 1 weights, first weight",
        write("sd.safetensors", safetensors()),
    ),
    with_models(
        "a pickled checkpoint",
        "--set recipe.text_to_image.source=sd.ckpt",
        rf"sd\.ckpt: {WEIGHTS} only pickled weights \(sd\.ckpt\)",
        write("sd.ckpt", b"\x80\x04."),
    ),
    with_models(
        "a family's name for a folder",
        "--set 'recipe.text_to_image={source: t2i, name: sd-1}'",
        r"t2i: recipe\.text_to_image\.name must be null for a folder, got 'sd-1'",
    ),
    with_models(
        "an empty folder as CLIP",
        "--set recipe.clip.source=empty",
        r"empty: must be a model's folder with open_clip_config\.json, got an empty folder",
        lambda: Path("empty").mkdir(),
    ),
    with_models(
        "pickled weights",
        "",
        rf"t2i/unet: {WEIGHTS} only pickled weights \(model\.bin\)",
        *(remove("t2i/unet/model.safetensors"), write("t2i/unet/model.bin", b"\x80\x04.")),
    ),
    with_models(
        "no weights", "", rf"clip: {WEIGHTS} none", remove("clip/open_clip_model.safetensors")
    ),
    with_models(
        "cut weights",
        "",
        r"t2i/vae/model\.safetensors: must be \d+ bytes by its header, got \d+",
        cut("t2i/vae/model.safetensors", 2),
    ),
    with_models(
        "weights cut in their header",
        "",
        r"t2i/unet/model\.safetensors: must be a whole safetensors file, got 20 bytes .*",
        write("t2i/unet/model.safetensors", safetensors()[:20]),
    ),
    with_models(
        "weights of another format",
        "",
        r"t2i/unet/model\.safetensors: must be a safetensors file, got another beginning: .*",
        write("t2i/unet/model.safetensors", (4).to_bytes(8, "little") + b"GGUF"),
    ),
    with_models(
        "a git-lfs pointer",
        "",
        r"t2i/unet/model\.safetensors: expected weights, got a git-lfs pointer of 43 bytes",
        write("t2i/unet/model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
    ),
    with_models(
        "a missing shard",
        "",
        r"t2i/unet/model\.safetensors\.index\.json: must name files .*, got .*model-2\.saf.*",
        write(
            "t2i/unet/model.safetensors.index.json",
            '{"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}',
        ),
    ),
    with_models(
        "a size that the autoencoder cannot draw",
        "--set recipe.size_px=9",
        r"recipe\.size_px: must be a multiple of 2 \(the autoencoder's factor\), got 9",
    ),
    with_models(
        "an autoencoder's configuration that is none",
        "",
        r"t2i/vae/config\.json: must be an autoencoder's JSON .*, got JSONDecodeError",
        write("t2i/vae/config.json", "{"),
    ),
    with_models(
        "a pinned hash that is no text",
        "--set 'recipe.clip.files={open_clip_config.json: 0}'",
        r"--set: recipe\.clip\.files\..* string, got 0",
    ),
    with_models(
        "another file than the pinned one",
        "--set 'recipe.clip.files={open_clip_config.json: abc}'",
        r"clip: must hold the files that this recipe pins, got others: open_clip_config\.json, .*",
    ),
]

RUN = [
    case(
        "a file where the run should be",
        GENERATE,
        r"/.*/run.*: cannot be used as a store \(Not a directory\); .*",
        *(models, write("run", "not a folder")),
    ),
    case(
        "a folder that nobody may write",
        GENERATE.replace("--out run", "--out /proc/editmill"),
        r"/proc/editmill.*: cannot be used as a store \(.*\); choose a folder .*",
        models,
    ),
    case(
        "a store of a kind that is not known",
        GENERATE.replace("--out run", "--out gs://bucket/run"),
        r"store: expected s3://bucket/prefix, file:///folder or a path, got 'gs://bucket/run'",
        models,
    ),
    case(
        "a folder with other files",
        GENERATE,
        r"/.*/run: must be empty or a run of editmill, got 'photo\.png' and no RUN\.json",
        *(models, write("run/photo.png", "picture")),
    ),
    case(
        "a run with another recipe",
        f"{GENERATE} --set recipe.steps=7 --set recipe.guidance=[2,3]",
        r"/.*/run: holds a run with another recipe; differing: "
        r"guidance: \[[0-9., ]+\] -> \[2\.0, 3\.0\]; steps: [0-9]+ -> 7",
        run,
    ),
    case(
        "a run with other weights",
        GENERATE,
        r"/.*/run: .*; differing: clip\.files\.open_clip_model\.safetensors: \"\w+\.\.\. -> .*",
        *(run, write("clip/open_clip_model.safetensors", safetensors(5))),
    ),
    case(
        "a run with another list",
        GENERATE,
        r"/.*/run: was planned with another list of triplets: 2 triplets there, 1 in .* given; it lacks .*",
        *(run, write("t.jsonl", GOOD)),
    ),
    case(
        "a cut RUN.json",
        GENERATE,
        r"/.*/run/RUN\.json: not a run record: JSONDecodeError: .*",
        *(run, cut("run/RUN.json", 9)),
        code=3,
    ),
    case(
        "a cut plan",
        "status --json run",
        r"/.*/plan/000000/plan\.json: not a plan: .*",
        *(run, cut("run/plan/000000/plan.json", 5)),
        code=3,
    ),
    case(
        "a cut manifest",
        "status --json run",
        r"/.*/manifest/000000\.json: not a manifest: .*",
        *(run, cut("run/manifest/000000.json", 5)),
        code=3,
    ),
    case(
        "a sheet that cannot be written",
        "sheet run --out nowhere/sheet.png",
        r"--out nowhere/sheet\.png: cannot be written: No such file or directory",
        run,
    ),
    case(
        "an edited RUN.json",
        "status --json run",
        r"/.*/run/RUN\.json: not a run record: .* the record's own stamp [0-9a-f]{64}",
        *(run, replace("run/RUN.json", '"candidates":2', '"candidates":3')),
        code=3,
    ),
    *(
        case(f"no run to {verb}", f"{verb} --json run", r"/.*/run: no run here: .* missing")
        for verb in ("status", "verify", "seal")
    ),
    case("a file as a run", "status t", r"/.*/t: no run here: .*", write("t", "")),
]

CASES = LIST + SETTINGS + FILE + BUDGET + MODELS + RUN


def refused(case: Case) -> None:
    """Run a case in the current folder, and look at everything it leaves behind."""
    for step in case.steps:
        step()
    before = files()
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        app(shlex.split(case.command))
    said = err.getvalue()
    assert said.startswith("editmill: "), said
    assert said.endswith("\n")
    line = said.removeprefix("editmill: ")[:-1]
    assert line.isprintable(), "one line"
    assert re.fullmatch(case.message, line), line
    assert ended.value.code == case.code, line
    assert out.getvalue() == ""
    after = files()
    assert {path: after.get(path) for path in before} == before
    # A store is tried before it is used; all that this leaves lies here.
    assert {path.parent for path in after.keys() - before.keys()} <= {Path("run/probe")}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_a_mistake_ends_with_one_line_and_changes_nothing(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(case)


def refuse_all_without_models() -> None:
    """In a fresh process: no refusal comes after torch or ray were imported."""
    for case in CASES:
        with TemporaryDirectory() as folder, chdir(folder):
            refused(case)
        late = {"torch", "ray", "diffusers", "transformers", "open_clip"} & set(sys.modules)
        if late:
            sys.exit(f"{case.id}: {sorted(late)} imported")
    print(f"{len(CASES)} refused")


def test_every_mistake_is_found_before_torch_or_ray_is_imported() -> None:
    program = "from tests.factory.test_bad_input import refuse_all_without_models as main; main()"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{len(CASES)} refused\n"


@pytest.mark.parametrize(
    ("command", "got"),
    [
        ("plan --triplets miniature --no-such-option", "--no-such-option"),
        ("plan", "--triplets"),
        ("plan --triplets miniature --max-bad -1", "--max-bad"),
        ("generate --triplets miniature --out run --limit none", "--limit"),
        ("no-such-command", "no-such-command"),
    ],
)
def test_an_option_that_is_not_understood_ends_with_2(
    command: str,
    got: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(command))
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert got in err
    assert "Traceback" not in err
    assert out == ""
    assert not files()


CAPTIONED = '{"caption": "a cat", "edit": "make it a dog", "output": "a dog"}\n'
URL = '{"input": "a cow", "edit": "a pig", "output": "a pig", "url": "https://host/x.jpg"}\n'


@pytest.mark.parametrize(
    ("content", "options", "counts", "said"),
    [
        pytest.param(URL + OTHER, "", (2, 0, 0), r"", id="the published list"),
        pytest.param(CAPTIONED, "", (1, 0, 0), r"", id="the published training file"),
        pytest.param("\ufeff" + GOOD, "", (1, 0, 0), r"", id="a byte order mark"),
        pytest.param((GOOD + OTHER).replace("\n", "\r\n"), "", (2, 0, 0), r"", id="CRLF"),
        pytest.param(f"\n{GOOD}\n \n{OTHER}\n\n", "", (2, 0, 0), r"", id="blank lines"),
        pytest.param(GOOD + OTHER[:-1], "", (2, 0, 0), r"", id="no line feed at the end"),
        pytest.param(
            GOOD + CAPTIONED + OTHER + GOOD,
            "",
            (2, 2, 0),
            r"2 duplicate triplets collapsed\n",
            id="duplicates",
        ),
        pytest.param(
            BAD + GOOD + "{\n",
            "--max-bad 2",
            (1, 0, 2),
            r'skipped: t\.jsonl:1: field "edit": .*, got null\nskipped: t\.jsonl:3: must .*\n',
            id="bad lines within --max-bad",
        ),
    ],
)
def test_a_list_that_is_only_untidy_is_read(
    content: str,
    options: str,
    counts: tuple[int, int, int],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write("t.jsonl", content)()
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(f"{PLAN} t.jsonl {options}"))
    out, err = capsys.readouterr()
    assert ended.value.code == 0
    found = json.loads(out)
    assert (found["triplets"], found["duplicates"], found["bad_lines"]) == counts
    assert re.fullmatch(said, err)


@pytest.fixture(scope="module")
def emulator() -> Iterator[S3Access]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Access(f"http://{host}:{port}", "key-of-nobody", "secret-of-nobody")
    server.stop()


S3_OUT = GENERATE.replace("--out run", "--out s3://{}/run")


@pytest.mark.parametrize(
    ("environment", "case"),
    [
        pytest.param(environment, case, id=case.id)
        for environment, case in [
            (
                {},
                case(
                    "a bucket that is missing",
                    S3_OUT.format("no-such-bucket"),
                    r"s3://no-such-bucket/run.*: \w+ answered 404.*; create the bucket.*",
                    models,
                ),
            ),
            (
                {},
                case(
                    "a list that is not in its bucket",
                    f"{PLAN} s3://there/lists/t.jsonl",
                    r"s3://there/lists/t\.jsonl: no such object",
                ),
            ),
            (
                {},
                case(
                    "a bucket with other objects",
                    S3_OUT.format("there"),
                    r"s3://there/run: must be empty or a run .*, got 'photo\.png' and no RUN\.json",
                    models,
                ),
            ),
            (
                {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"},
                case(
                    "a server that does not answer",
                    S3_OUT.format("there"),
                    r"s3://there/run.*: .* no answer \(EndpointConnectionError\); check AWS_.*",
                    models,
                    code=3,
                ),
            ),
            (
                {"AWS_ENDPOINT_URL_S3": "nonsense"},
                case(
                    "an endpoint that is none",
                    S3_OUT.format("there"),
                    r"s3://there/run.*: .* cannot be sent \(ValueError\); check AWS_ENDPOINT_URL.*",
                    models,
                ),
            ),
            (
                {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
                case(
                    "no keys",
                    S3_OUT.format("there"),
                    r"s3://there/run.*: no keys for S3 were found; check AWS_ACCESS_KEY_ID .*",
                    models,
                ),
            ),
        ]
    ],
)
def test_a_mistake_about_s3_ends_with_one_line(
    environment: dict[str, str],
    case: Case,
    emulator: S3Access,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    emulator.export(monkeypatch)
    client = boto3.session.Session().client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="there")
    client.put_object(Bucket="there", Key="run/photo.png", Body=b"picture")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refused(case)


@pytest.mark.skipif(not MINIATURE.is_dir(), reason="the miniature's weights are not here")
def test_a_prompt_longer_than_the_text_encoders_limit_is_cut_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    long = "a small red circle on a white background " * 3
    write("t.jsonl", GOOD + GOOD.replace("a dog", long))()
    settings = "compute.where=here", "compute.threads=1", "recipe.steps=1", "recipe.candidates=1"
    options = " ".join(f"--set {setting}" for setting in settings)
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(f"generate --json --triplets t.jsonl --out run {options}"))
    assert ended.value.code == 0
    state = json.loads(capsys.readouterr().out)
    tally = state["counts"]
    assert (tally["accepted"] + tally["rejected"], tally["failed"]) == (2, 0)
    assert state["truncated"] == 1
