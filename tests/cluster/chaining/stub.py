"""Stands for `editmill` in the tests of chains: notes each call, leaves something at --out, ends as told.

STUB names a folder: `codes.json` there says with which codes a verb ends, one after the other, then 0;
`wait` holds it up until it hears SIGTERM.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

folder = Path(os.environ["STUB"])
verb = sys.argv[1]
told = 0


def hear(*_: object) -> None:
    global told
    told += 1


signal.signal(signal.SIGTERM, hear)
with (folder / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\n")
out = next((b for a, b in zip(sys.argv, sys.argv[1:], strict=False) if a == "--out"), None)
if out is not None:
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / "made").write_text(verb)
print(f"result of {verb}", flush=True)
print(f"{verb} begins", file=sys.stderr, flush=True)
if (folder / "wait").exists():
    (folder / "waiting").write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while not told and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    (folder / "told").write_text(str(told))
    sys.exit(3)
file = folder / "codes.json"
codes = json.loads(file.read_text()) if file.exists() else {}
mine = codes.get(verb, [])
code = mine.pop(0) if mine else 0
file.write_text(json.dumps(codes))
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
