"""Captions against a server that answers by rule: what a call costs, what is paid twice, what rules find.

python benchmarks/captions.py                      (from the repository's root; minutes)
python benchmarks/captions.py --server ceph        (and to S3, whose server comes from apt)
python benchmarks/captions.py --cases FILE         (and the rules on labelled natural English)
python benchmarks/captions.py --only overhead      (a call's cost alone; the others of the result stay)
python benchmarks/captions.py --tiny --dry         (a small run; writes nothing)

A start is a process of its own, so that only the client's CPU time is counted, its beginning included.
`valid_share` and `edit_kinds` are of the miniature's own language model, behind `transformers serve`, asked
for captions that it was never shown.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"

import pyarrow.parquet as pq  # noqa: E402

from benchmarks.memory import ended  # noqa: E402
from benchmarks.record import machine, replace_results, write_results  # noqa: E402
from factory.captions.checks.acceptance import faults  # noqa: E402
from factory.captions.checks.instruction_rules import broken_rules  # noqa: E402
from factory.captions.local_server import served  # noqa: E402
from factory.captions.prompts import Suggestion  # noqa: E402
from factory.ledger import keys  # noqa: E402
from factory.ledger.plan import read_plan  # noqa: E402
from factory.ledger.run import open_run  # noqa: E402
from factory.ledger.status import status  # noqa: E402
from factory.miniature import world  # noqa: E402
from factory.models.find import LANGUAGE  # noqa: E402
from schemas.canonical import content_hash  # noqa: E402
from schemas.captions import TRIPLETS, Limits  # noqa: E402
from schemas.triplet import Triplet  # noqa: E402
from tests.chaos.servers import BUCKET, s3_server  # noqa: E402
from tests.factory.captions.language_server import Says, green, language_server  # noqa: E402
from trainer.miniature.language import is_right  # noqa: E402

IN_FLIGHT = 64
FAULTS = (
    Says(429, {"retry-after": "0.05"}, b"{}"),
    Says(500, {}, b"oops"),
    Says(200, {}, b'{"choices": [1]}', cut=True),
)
FAULTY = 5
"""Of so many requests one is answered badly first."""
ATTEMPTS = 4
NEAR_QUOTA = 0.1
"""A kind's share of all triplets may differ so much from its quota."""
NOISE = 0.1
"""Share of a stub judge's verdicts that are wrong."""


def captions(folder: str, count: int) -> str:
    """A list of so many."""
    file = Path(folder) / f"captions-{count}.txt"
    file.write_text("".join(f"a red wagon {n}a {n}b {n}c by the road\n" for n in range(count)))
    return str(file)


def start(
    listed: str, out: str, url: str, preset: str = "openai", **more: object
) -> "subprocess.Popen[bytes]":
    """The command in a process of its own; `more` are settings of the recipe."""
    words = ["captions", "--preset", preset, "--captions", listed, "--out", out, "--base-url", url]
    settings = {"compute.where": "here"} | {f"recipe.{name}": value for name, value in more.items()}
    if preset == "openai":
        settings |= {"compute.server.in_flight": IN_FLIGHT, "recipe.unit_captions": IN_FLIGHT}
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return subprocess.Popen(
        [sys.executable, "-m", "factory", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )


def overhead(out: str, counts: Sequence[int], label: str = "") -> dict[str, Any]:
    """CPU of a call, and peak memory at a tenth of the calls and at all."""
    found: dict[str, Any] = {}
    spent: list[tuple[int, float]] = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder, language_server(green) as model:
            process = start(captions(folder, count), f"{out or folder}/run-{count}", model.url)
            code, used, peak = ended(process)
            assert code == 0, process.stderr and process.stderr.read().decode()[-2000:]
        calls = len(model.asked)
        spent.append((calls, used.ru_utime + used.ru_stime))
        found[f"overhead_ms{label}"] = round(spent[-1][1] / calls * 1000, 3)
        found[f"calls{label}"] = calls
        found[f"rss_mib_of_{count}{label}"] = round(peak, 1)
    (few, of_few), (many, of_many) = spent
    found[f"overhead_ms_without_start{label}"] = round((of_many - of_few) / (many - few) * 1000, 3)
    return found


def kills(count: int, times: int) -> dict[str, Any]:
    """Starts that are killed, against a server that misbehaves; it looks into the run's folder before each
    answer, whether that stands there already.
    """
    lock, seen, again, answers = threading.Lock(), set[str](), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"

        def answer(path: str, body: dict[str, Any]) -> Any:
            names = [content_hash(["chat", body, number]) for number in range(ATTEMPTS)]
            name = names[0]
            with lock:
                again[name] += any((out / keys.reply(one)).exists() for one in names)
                is_new = name not in seen
                seen.add(name)
                if is_new and int(name[:8], 16) % FAULTY == 0:
                    return FAULTS[int(name[8:16], 16) % len(FAULTS)]
                answers[name] += 1
            return green(path, body)

        with language_server(answer) as model:
            listed, rng, killed = captions(folder, count), random.Random(0), 0
            while killed < times:
                process, given = start(listed, str(out), model.url), answers.total()
                until = given + rng.randint(1, max(1, count // (times + 1)))
                while process.poll() is None and answers.total() < until:
                    time.sleep(0.005)
                killed += process.poll() is None
                process.kill()
                process.communicate()
            process = start(listed, str(out), model.url)
            process.communicate()
        run = open_run(str(out))
        counts = status(run, read_plan(run)).counts
        stored = sum(1 for _ in run.store.list(keys.REPLIES))
    return {
        "kills_exit_code": process.returncode,
        "driver_kills": killed,
        "paid_twice": again.total(),
        "answers": answers.total(),
        "answers_lost_at_kills": answers.total() - stored,
        "requests": len(model.asked),
        "accounted": sum(counts.values()) == count,
        **counts,
    }


def generated(captions: int, each: int) -> dict[str, Any]:
    """What the miniature's language model writes, over HTTP, for captions that it never saw: the triplets
    that the command keeps, by the world's grammar, and how near each kind of edit is to its quota.
    """
    held_out = world.held_out_captions()[:captions]
    with tempfile.TemporaryDirectory() as folder, served(LANGUAGE, "miniature") as url:
        listed = Path(folder) / "captions.txt"
        listed.write_text("".join(f"{caption}\n" for caption in held_out))
        out = f"{folder}/run"
        process = start(str(listed), out, url, "miniature", per_caption=each)
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()[-2000:]
        run = open_run(out)
        counts = status(run, read_plan(run)).counts
        rows = [
            Triplet.model_validate(row)
            for file in sorted(Path(out).rglob(f"{TRIPLETS}*.parquet"))
            for row in pq.read_table(file).to_pylist()
        ]
    by_kind = Counter(row.edit_kind for row in rows)
    shares = {kind: by_kind[kind] / len(rows) for kind in world.EDIT_KINDS}
    quota = 1 / len(world.EDIT_KINDS)
    return {
        "valid_share": round(sum(map(is_right, rows)) / len(rows), 4),
        "edit_kinds": sum(abs(share - quota) <= NEAR_QUOTA for share in shares.values()),
        "edit_kind_shares": {kind: round(share, 4) for kind, share in shares.items()},
        "generated_triplets": len(rows),
        "generated_of": captions * each,
        "generated_counts": counts,
    }


def is_refused(caption: str, edit: str, edited: str) -> bool:
    """By what is looked at before a judge is asked."""
    words = Suggestion(edit, edited)
    return bool(faults(caption, words, Limits(), ()) or broken_rules(caption, words))


def planted(count: int) -> Iterator[tuple[str, str, str]]:
    """Wrong triplets of the world's grammar: each kind of wrong in turn."""
    rng = random.Random("planted")
    others = list(world.triplets(2 * count, 1))
    for number, one in enumerate(world.triplets(count, 0)):
        before, after = world.parse_caption(one["input"]), world.parse_caption(one["output"])
        kinds = [kind for kind in world.EDIT_KINDS if kind != one["edit_kind"]]
        yield (
            # Nothing changed; the other way round; another edit's words; a second change; another scene.
            (one["input"], one["edit"], one["input"]),
            (one["output"], one["edit"], one["input"]),
            (
                one["input"],
                next(o["edit"] for o in others[number:] if o["edit_kind"] == rng.choice(kinds)),
                one["output"],
            ),
            (
                one["input"],
                one["edit"],
                world.caption(replace(world.edit(after, rng.choice(kinds), rng))),
            ),
            (one["input"], f"move the {before.shape} to the left", one["output"]),
        )[number % 5]


def checked(count: int) -> dict[str, Any]:
    """The rules on the world's grammar."""
    wrong = [is_refused(*one) for one in planted(count)]
    right = [is_refused(o["input"], o["edit"], o["output"]) for o in world.triplets(count, 2)]
    return {
        "planted_wrong": count,
        "wrong_found": round(sum(wrong) / count, 4),
        "wrong_found_by_kind": [round(sum(wrong[n::5]) / len(wrong[n::5]), 4) for n in range(5)],
        "right_refused": round(sum(right) / count, 4),
    }


def natural(file: str) -> dict[str, Any]:
    """The rules on labelled instructions, reported and never tuned on."""
    rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
    refused = [is_refused(row["input"], row["edit"], row["output"]) for row in rows]
    wrong = [no for no, row in zip(refused, rows, strict=True) if not row["right"]]
    right = [no for no, row in zip(refused, rows, strict=True) if row["right"]]
    return {
        "natural_wrong": len(wrong),
        "natural_wrong_found_by_rules": round(sum(wrong) / len(wrong), 4),
        "natural_right": len(right),
        "natural_right_refused_by_rules": round(sum(right) / len(right), 4),
    }


def judged(file: str) -> dict[str, Any]:
    """The same by the command, with a second model's verdict behind the rules: a stub that answers from the
    labels and is wrong in a tenth of its verdicts, since no real model is here.
    """
    rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
    by_caption = {row["input"]: row for row in rows}

    def answer(path: str, body: dict[str, Any]) -> Any:
        asked = json.loads(body["messages"][-1]["content"])
        row = by_caption[asked["caption"]]
        if body["model"] != "judge":
            return json.dumps(
                {"id": asked["id"], "edit": row["edit"], "edited_caption": row["output"]}
            )
        is_wrong = random.Random(row["input"]).random() < NOISE
        return json.dumps({"verdict": float(row["right"] != is_wrong)})

    with tempfile.TemporaryDirectory() as folder, language_server(answer) as model:
        listed = Path(folder) / "captions.jsonl"
        listed.write_text("".join(json.dumps({"caption": one}) + "\n" for one in by_caption))
        how = {"judge.model": "judge", "attempts": "1", "near_duplicates": "null"}
        process = start(str(listed), f"{folder}/run", model.url, **how)
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()[-2000:]
        kept = {
            row["original_prompt"]
            for path in Path(folder, "run").rglob(f"{TRIPLETS}*.parquet")
            for row in pq.read_table(path).to_pylist()
        }
    wrong = [caption not in kept for caption, row in by_caption.items() if not row["right"]]
    right = [caption not in kept for caption, row in by_caption.items() if row["right"]]
    return {
        "natural_wrong_found_with_judge": round(sum(wrong) / len(wrong), 4),
        "natural_right_refused_with_judge": round(sum(right) / len(right), 4),
        "natural_judge_noise": NOISE,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", help="ceph, swift or moto: what a call costs to S3 as well")
    parser.add_argument("--cases", help="labelled instructions, as JSON lines")
    parser.add_argument("--only", choices=("overhead",), help="the others of the result stay")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--dry", action="store_true", help="write no result")
    given = parser.parse_args()
    where, counts = machine(), (100, 300) if given.tiny else (1000, 10_000)
    figures: dict[str, Any] = {}
    if given.only is None:
        figures |= generated(*((10, 1) if given.tiny else (200, 5)))
        figures |= checked(100 if given.tiny else 500)
        if given.cases:
            figures |= natural(given.cases) | judged(given.cases)
        figures |= kills(*((200, 2) if given.tiny else (1000, 5)))
    figures |= overhead("", counts)
    if given.server:
        with s3_server(given.server):
            figures |= overhead(f"s3://{BUCKET}/captions-{os.getpid()}", counts, "_s3")
    print(json.dumps(figures, indent=1))
    if given.dry:
        return
    if given.only:
        replace_results("captions", given.only, figures, where)
    else:
        write_results("captions", figures, where)


if __name__ == "__main__":
    main()
