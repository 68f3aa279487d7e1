"""Every command, forked and held in a phase of its work until a signal ends it; a JSON line of each.

Forked, because importing the programs takes longer than all that is asked of them here; and for that
reason without torch and Ray, too.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import reduce
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

from editmill import app
from factory.console.signals import DRAINING, answer_signals


@dataclass(frozen=True)
class Phase:
    """`place` is the function that does not return; `without` are modules that are not imported."""

    name: str
    command: str
    place: str
    without: tuple[str, ...] = ()
    words: str = ""
    """The last that are said, where they are this verb's own."""
    drains: bool = False
    """Whether something is in hand that a first signal waits for, so that it takes a second."""


TRAIN = "--preset miniature --dataset d --out o --set law.model.source=m --set compute.where=here"
GENERATE = "generate --preset miniature --triplets miniature --out run"
HERE = f"{GENERATE} --set compute.where=here"
EDIT = "edit --preset miniature --images in --instruction x --out o --set compute.where=here"
CAPTIONS = (
    "captions --preset vllm --model m --base-url http://127.0.0.1:9/v1 --captions c.txt --out w "
    "--set compute.where=here"
)
SUBMIT = "submit cluster.yaml -- plan --triplets miniature"
CHAIN = "chain chain.yaml"
ENGINE = ("factory.pairs.prompt_to_prompt",)
JOB = "interrupted; a job that was submitted is told to stop and may still be draining\n"
RAY = ("ray", "ray.exceptions", "ray.job_submission")
FILES = {
    "in/a.png": "",
    "c.txt": "a cat\n",
    "cluster.yaml": "address: http://127.0.0.1:9\n",
    "chain.yaml": "root: chain\nsteps:\n  planned: plan --triplets miniature\n",
    "ray.yaml": "cluster_name: c\nprovider: {type: local}\n",
}
PHASES = [
    Phase("reading a list", "plan --triplets miniature", "factory.verbs.plan:read_triplets"),
    Phase("hashing weights", GENERATE, "factory.pairs.generate:pin"),
    Phase("fetching a model", GENERATE, "factory.models.pin:model_folder"),
    Phase("probing a store", GENERATE, "factory.work.job:probe"),
    Phase(
        "loading models", HERE, "factory.pairs.prompt_to_prompt:PromptToPrompt.for_compute", ENGINE
    ),
    Phase(
        "sealing what was made",
        f"{HERE} --deadline 2020-01-01T00:00:00",
        "factory.work.job:_end",
        ENGINE,
    ),
    Phase("examining", "doctor --preset miniature", "factory.doctor.examination:examine"),
    Phase("a demo", "demo", "factory.verbs.demo.pairs:pin"),
    Phase("a demo of edits", "demo-edit", "factory.edits.prepare:pin_editor"),
    Phase("listing pictures", EDIT, "factory.verbs.asked_edits:list_images"),
    Phase("hashing an editor", EDIT, "factory.edits.prepare:pin_editor"),
    Phase("probing a store for edits", EDIT, "factory.work.job:probe"),
    Phase("loading an editor", EDIT, "factory.edits.studio:Studio", ("factory.edits.studio",)),
    Phase("reading captions", CAPTIONS, "factory.verbs.captions:read_captions"),
    Phase("probing a store for captions", CAPTIONS, "factory.work.job:probe"),
    Phase(
        "asking a language model",
        CAPTIONS,
        "factory.captions.server:LanguageServer.ask",
        drains=True,
    ),
    Phase(
        "making training lines",
        "captions-prepare --triplets miniature --out l.jsonl",
        "factory.verbs.captions_training:read_triplets",
    ),
    Phase(
        "uploading training lines",
        "captions-finetune --lines c.txt --model m --out w --base-url http://127.0.0.1:9/v1",
        "factory.captions.tuning.finetune:LanguageServer.patiently",
    ),
    Phase(
        "beginning a language model's training",
        "train-language --preset miniature --lines c.txt --out w",
        "trainer.language.train:prepare",
        ("trainer.language.train",),
    ),
    Phase("looking at a verb", SUBMIT, "cluster.__main__:preflight", RAY),
    Phase(
        "reaching a cluster",
        SUBMIT.replace(" ", " --unchecked ", 1),
        "cluster.submit:access_to",
        RAY,
        JOB,
    ),
    Phase(
        "starting a cluster here",
        "submit --unchecked local -- plan --triplets miniature",
        "cluster.submit:local_cluster",
        RAY,
        JOB,
    ),
    Phase("looking at a chain", CHAIN, "cluster.chaining.verb:preflight"),
    Phase("beginning a chain", f"{CHAIN} --unchecked", "cluster.chaining.run:ChainRecord.begin"),
    Phase("a chain's status", f"{CHAIN} --status", "cluster.chaining.verb:chain_status"),
    Phase("starting a cluster", "up ray.yaml --yes", "cluster.launching.verb:subprocess.call"),
    Phase("ending a cluster", "down ray.yaml --yes", "cluster.launching.verb:subprocess.call"),
    Phase("listing jobs", "jobs cluster.yaml", "cluster.jobs:access_to"),
    Phase("reading a log", "logs cluster.yaml", "cluster.jobs:access_to"),
    Phase("stopping a job", "stop cluster.yaml job", "cluster.jobs:access_to"),
    Phase("forecasting", "forecast run --captions 9", "cluster.forecast.pilot:read_pilot"),
    Phase(
        "calibrating",
        "calibrate",
        "factory.pairs.prompt_to_prompt:PromptToPrompt.for_compute",
        ENGINE,
    ),
    Phase("a run's status", "status run", "factory.verbs.runs.opened:open_run"),
    Phase("verifying", "verify run", "factory.verbs.runs.opened:open_run"),
    Phase("sealing", "seal run", "factory.verbs.runs.opened:open_run"),
    Phase("collecting garbage", "gc run --delete", "factory.verbs.runs.opened:open_run"),
    Phase("drawing a sheet", "sheet run --out s.png", "factory.verbs.runs.opened:open_run"),
    Phase("reporting", "report run --out page", "factory.verbs.runs.opened:open_run"),
    Phase("purging", "purge run --duplicates --name other", "factory.verbs.runs.opened:open_run"),
    Phase("selecting", "select run --name other", "factory.verbs.runs.opened:open_run"),
    Phase(
        "exporting",
        "export run --to there --format hf",
        "factory.verbs.export:machine.check_machine",
    ),
    Phase("beginning a training", f"fit {TRAIN}", "trainer.fit:prepare", ("trainer.fit",)),
    Phase("setting up a training", f"fit {TRAIN}", "trainer.fit:fit", ("trainer.fit",)),
    Phase(
        "encoding",
        f"encode {TRAIN}",
        "trainer.latents.encode:encode_dataset",
        ("trainer.fit", "trainer.latents.encode"),
    ),
    Phase(
        "evaluating",
        "evaluate --editor e --out o",
        "factory.edits.prepare:pin_editor",
    ),
    Phase("comparing", "compare o", "trainer.evaluation.compare:open_run"),
    Phase(
        "training the miniature",
        "train-miniature --out o --stage card",
        "trainer.miniature.train:train_miniature",
        ("torch", "trainer.miniature.train"),
    ),
]


def child(phase: Phase, told: int) -> None:
    """Run the command; where it comes to the phase, say so, and stay."""

    def held(*_: Any, **__: Any) -> None:
        os.write(told, b"!")
        time.sleep(600)

    answer_signals()
    sys.modules |= {name: MagicMock(STAGES=("card",)) for name in phase.without}
    module, _, names = phase.place.partition(":")
    *owners, name = names.split(".")
    owner = reduce(getattr, owners, importlib.import_module(module))
    with patch.object(owner, name, held):
        app(phase.command.split())


def run(phase: Phase, name: signal.Signals) -> dict[str, Any]:
    """What became of the command: whether it came to the phase, its exit code, what it said."""
    heard, told = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(heard)
        with open("err", "wb") as file:
            os.dup2(file.fileno(), 2)
        code: Any = 70
        try:
            child(phase, told)
        except SystemExit as end:
            code = end.code
        finally:
            os._exit(code)
    os.close(told)
    came = os.read(heard, 1) == b"!"
    os.close(heard)
    os.kill(pid, name)
    ended, status = os.waitpid(pid, os.WNOHANG)
    while phase.drains and not ended and DRAINING not in Path("err").read_text():
        time.sleep(0.01)
        ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        if phase.drains:
            os.kill(pid, name)
        status = os.waitpid(pid, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    return {"phase": phase.name, "came": came, "code": code, "err": Path("err").read_text()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for path, text in FILES.items():
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_text(text)
        names = cycle([signal.SIGTERM, signal.SIGINT])
        for phase, name in zip(PHASES, names, strict=False):
            print(json.dumps(run(phase, name)), flush=True)


if __name__ == "__main__":
    main()
