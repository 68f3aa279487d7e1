"""What is done with the roots: run with a clock that stands still and ids that are counted, so that every
byte of what is stored is the same each time.
"""

import hashlib
import itertools
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from typer.testing import CliRunner

from factory.__main__ import app
from factory.dataset.run_card import NAME
from factory.ledger import keys
from factory.ledger.plan import read_plan
from factory.ledger.run import open_run
from factory.ledger.units.reopen import open_failed
from schemas.config import Config
from tests.making import run_here, run_job
from tests.stub_source import StubSource

NOW = 1_800_000_000.0
OLD = NOW - 1_000_000.0
"""Seconds since 1970 at which everything in a root was written."""


@contextmanager
def still() -> Iterator[None]:
    """Inside, time stands still and ids are 1, 2, 3 ...; a segment holds two units."""
    ids = itertools.count(1)
    with (
        patch.object(time, "time", lambda: NOW),
        patch.object(time, "monotonic", lambda: 1000.0),
        patch.object(uuid, "uuid4", lambda: uuid.UUID(int=next(ids))),
        patch.object(keys, "SEGMENT_UNITS", 2),
    ):
        yield


def resume(root: Path) -> None:
    """Make what is open, then seal."""
    run = open_run(str(root))
    config = Config.model_validate({"recipe": run.recipe.model_dump()})
    run_job(run, read_plan(run), config, run_here(lambda _: StubSource()))


def retry(root: Path) -> None:
    """Open what failed again, then as `resume`."""
    run = open_run(str(root))
    open_failed(run, read_plan(run))
    resume(root)


def verb(*words: str) -> object:
    """A command's object on stdout, its exit code beside it."""
    done = CliRunner().invoke(app, [*words, "--json"])
    return {"exit": done.exit_code, "said": json.loads(done.stdout or "null")}


def collect(root: Path) -> object:
    """`gc --delete` of what is all old."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (OLD, OLD))
    with patch("factory.storage.local.LocalStore.now", lambda _: NOW):
        return verb("gc", str(root), "--delete")


def stored(root: Path) -> dict[str, str]:
    """The start of every object's sha256, by key; but of the card and the scores, which came later."""
    return {
        key: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and (key := path.relative_to(root).as_posix()) != NAME
        and not key.startswith(keys.SCORES)
    }


def walk(root: Path) -> dict[str, object]:
    """All that happens to a copy of a root, and what lies there after each step."""
    found: dict[str, object] = {"there": stored(root)}

    def note(name: str, said: object = None) -> None:
        found[name] = {"said": _anywhere(said, root), "stored": stored(root)}

    with still():
        note("status", verb("status", str(root)))
        note("verify", verb("verify", str(root)))
        note("snapshot", verb("seal", str(root), "--partial"))
        note("resume", resume(root))
        note("retry", retry(root))
        note("seal", verb("seal", str(root)))
        note("verify again", verb("verify", str(root)))
        note("gc", collect(root))
        note("status again", verb("status", str(root)))
    return found


def _anywhere(said: object, root: Path) -> object:
    """Without the place in which the copy lies."""
    return json.loads(json.dumps(said).replace(str(root), "ROOT"))
