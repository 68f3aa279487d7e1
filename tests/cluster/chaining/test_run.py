import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.chaining import run
from cluster.chaining.file import read_chain
from cluster.chaining.record import ChainRecord
from cluster.chaining.run import ChainResult, run_chain
from cluster.chaining.status import chain_status
from factory.storage.open import open_store
from tests.cluster.chaining.conftest import STUB

ROOT = Path(__file__).parents[3]
CHAIN = """
root: {root}
steps:
  pairs: generate --triplets miniature
  latents: encode --preset miniature --dataset ${{pairs}}
  judged: evaluate --editor miniature/editor
"""


def calls(stub: Path) -> list[str]:
    """The verbs that were run since the last look, in order."""
    file = stub / "calls.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [json.loads(line)[0] for line in lines]


def codes(stub: Path, **of: list[int]) -> None:
    (stub / "codes.json").write_text(json.dumps(of))


def start(tmp_path: Path, text: str = CHAIN, again: bool = False) -> ChainResult:
    file = tmp_path / "chain.yaml"
    file.write_text(text.format(root=tmp_path / "root"))
    return run_chain(read_chain(str(file)), again=again, results=io.StringIO())


def test_steps_run_in_turn_and_what_is_done_is_not_run_again(stub: Path, tmp_path: Path) -> None:
    first = start(tmp_path)
    words = [json.loads(line) for line in (stub / "calls.jsonl").read_text().splitlines()]
    root = tmp_path / "root"
    assert words[0] == ["generate", "--triplets", "miniature", "--out", f"{root}/pairs"]
    assert words[1][3:] == ["--dataset", f"{root}/pairs", "--out", f"{root}/latents"]
    assert calls(stub) == ["generate", "encode", "evaluate"]
    assert (first.exit_code, first.message) == (0, "all 3 steps are done")
    assert start(tmp_path).exit_code == 0
    assert calls(stub) == []
    assert start(tmp_path, again=True).exit_code == 0
    assert calls(stub) == ["generate", "encode", "evaluate"]


def test_an_incomplete_step_ends_the_chain_with_3_and_the_next_start_begins_there(
    stub: Path, tmp_path: Path
) -> None:
    codes(stub, encode=[3])
    first = start(tmp_path)
    assert first.exit_code == 3
    assert first.message == (
        f"{tmp_path}/chain.yaml:5: steps.latents: ended with 3: it is incomplete; run the same "
        "command to resume"
    )
    assert calls(stub) == ["generate", "encode"]
    assert start(tmp_path).exit_code == 0
    assert calls(stub) == ["encode", "evaluate"]


@pytest.mark.parametrize(
    ("code", "ends_with", "what_now"),
    [
        (2, 2, "its input is wrong: mend what it says above, then run the same command"),
        (4, 4, "raise that limit or mend its settings, then run the same command"),
        (5, 5, "`editmill verify --repair` on it, then run the same command"),
        (1, 1, "no verb should; run the same command to try again"),
        (-9, 3, "it is incomplete; run the same command to resume"),
    ],
)
def test_a_step_that_ends_otherwise_ends_the_chain_with_its_code_and_says_what_to_do(
    stub: Path, tmp_path: Path, code: int, ends_with: int, what_now: str
) -> None:
    codes(stub, encode=[code])
    ended = start(tmp_path)
    assert ended.exit_code == ends_with
    assert f"chain.yaml:5: steps.latents: ended with {ends_with}: " in ended.message
    assert ended.message.endswith(what_now)
    assert calls(stub) == ["generate", "encode"]
    step = chain_status(str(tmp_path / "root")).steps[1]
    assert (step.state, step.exit_code) == ("ended", ends_with)


def test_a_step_with_other_words_runs_again_and_so_do_those_that_take_its_results(
    stub: Path, tmp_path: Path
) -> None:
    start(tmp_path)
    calls(stub)
    start(tmp_path, CHAIN.replace("--triplets miniature", "--triplets miniature --limit 3"))
    assert calls(stub) == ["generate", "encode"]


def test_a_step_whose_results_are_gone_is_not_done(stub: Path, tmp_path: Path) -> None:
    start(tmp_path)
    calls(stub)
    (tmp_path / "root" / "latents" / "made").unlink()
    start(tmp_path)
    assert calls(stub) == ["encode"]


def test_one_log_holds_what_the_chain_and_its_steps_say(
    stub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes(stub, evaluate=[4])
    start(tmp_path)
    record = ChainRecord(open_store(str(tmp_path / "root")))
    text = b"".join(record.log(0)).decode()
    lines = text.splitlines()
    assert lines[0] == f"chain in {tmp_path}/root: pairs, latents, judged"
    for line in ("result of encode", "encode begins", "3/3 judged: ended with 4 after 0 s"):
        assert line in lines
    assert lines[-1].startswith(f"{tmp_path}/chain.yaml:6: steps.judged: ended with 4: a guard")
    said = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("result of")] == said


def test_its_results_are_its_steps_and_go_where_they_are_wanted(stub: Path, tmp_path: Path) -> None:
    file = tmp_path / "chain.yaml"
    file.write_text(CHAIN.format(root=tmp_path / "root"))
    results = io.StringIO()
    run_chain(read_chain(str(file)), results=results)
    assert results.getvalue().splitlines() == [
        "result of generate",
        "result of encode",
        "result of evaluate",
    ]


DRIVER = """
import sys
from factory.console.signals import answer_signals
answer_signals()
from cluster.chaining import run
from cluster.chaining.file import read_chain
run.PROGRAM = (sys.executable, sys.argv[1])
run.YOUNG_S = float(sys.argv[3])
sys.exit(run.run_chain(read_chain(sys.argv[2])).exit_code)
"""


def begin(stub: Path, tmp_path: Path, young_s: float = 0.0) -> "subprocess.Popen[bytes]":
    """A chain in a process of its own, whose first step waits for a signal."""
    (stub / "wait").touch()
    file = tmp_path / "chain.yaml"
    file.write_text(CHAIN.format(root=tmp_path / "root"))
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(STUB), str(file), str(young_s)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_for(stub / "waiting")
    return process


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return file.read_text()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_handed_to_the_step_once_and_the_chain_ends_with_3(
    stub: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = begin(stub, tmp_path)
    process.send_signal(number)
    assert process.wait(60) == 3
    assert (stub / "told").read_text() == "1"
    assert calls(stub) == ["generate"]


@pytest.mark.long
def test_a_killed_chain_leaves_no_step_behind(stub: Path, tmp_path: Path) -> None:
    process = begin(stub, tmp_path)
    step = psutil.Process(int((stub / "waiting").read_text()))
    process.kill()
    process.wait()
    assert int(wait_for(stub / "told")) >= 1
    psutil.wait_procs([step], timeout=30)
    assert not step.is_running()
    (stub / "wait").unlink()
    calls(stub)
    status = chain_status(str(tmp_path / "root"))
    assert [step.state for step in status.steps] == ["open", "waiting", "waiting"]
    assert start(tmp_path).exit_code == 0
    assert calls(stub) == ["generate", "encode", "evaluate"]


@pytest.mark.long
def test_in_a_job_ray_tells_the_step_itself_unless_it_has_just_begun(
    stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(run.IN_JOB, "{}")
    process = begin(stub, tmp_path)
    process.send_signal(signal.SIGTERM)
    time.sleep(5 * run.POLL_S)
    assert not (stub / "told").exists()
    os.kill(int((stub / "waiting").read_text()), signal.SIGTERM)
    assert process.wait(60) == 3
    assert (stub / "told").read_text() == "1"
    for name in ("waiting", "told"):
        (stub / name).unlink()
    process = begin(stub, tmp_path, young_s=1000.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 3
    assert (stub / "told").read_text() == "1"
