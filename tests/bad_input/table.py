"""A refusal as a row of a table: the input, the exit code, the message, and what stays untouched."""

import io
import os
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest

from editmill import app
from tests.bad_input.materials import Step, files, models
from tests.factory.storage.crooked import Act

PLAN = "plan --json --triplets"
GENERATE = "generate --json --triplets t.jsonl --config c.yaml --out run"
S3_OUT = GENERATE.replace("--out run", "--out s3://there/run")
SHOW = "config show"


@dataclass(frozen=True)
class Case:
    """A command that is refused; `message` describes all of the line after `editmill: `.

    Nothing that was there changes, and nothing comes to be but what it `leaves`: the few bytes by which
    a store is tried are gone again.
    """

    id: str
    command: str
    message: str
    steps: tuple[Step, ...] = ()
    code: int = 2
    leaves: tuple[str, ...] = ()
    """What was written before it could be known; a folder where the name ends with a slash."""
    usage: bool = False
    """Refused by the parser of options, whose words are its own: they hold `message`."""
    told: bool = False
    """Refused by what comes to its work, and says first what it goes on with."""
    environment: Mapping[str, str] = field(default_factory=dict)
    act: Act | None = None
    """What the S3 server does instead of its work."""


def case(id: str, command: str, message: str, *steps: Step, **fields: object) -> Case:
    return Case(id, command, message, steps, **fields)  # type: ignore[arg-type]


def generated(id: str, options: str, message: str, *steps: Step, **fields: object) -> Case:
    """A start of the main job beside models, a configuration and a list."""
    return case(id, f"{GENERATE} {options}".rstrip(), message, models, *steps, **fields)


def refused(case: Case, objects: Callable[[], Mapping[str, object]] = dict) -> str:
    """Run a case in the current folder and look at all it leaves; the line that it said.

    `objects` lists what a store outside of the folder holds.
    """
    for step in case.steps:
        step()
    before, stored = files(), objects()
    out, err = io.StringIO(), io.StringIO()
    # Without the canaries that others have set for as long as their cluster lives.
    with (
        patch.dict(os.environ, case.environment),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        app(shlex.split(case.command))
    said = err.getvalue()
    if case.told:
        said = said[said.rindex("editmill: ") :]
    assert ended.value.code == case.code, said
    assert out.getvalue() == ""
    line = case.message if case.usage else said.removeprefix("editmill: ")[:-1]
    assert said.startswith("editmill: "), said
    assert said[-1] == "\n"
    assert said[:-1].isprintable(), "one line"
    assert case.message in said if case.usage else re.fullmatch(case.message, line), line
    after, stored_after = files(), objects()
    assert {path: after.get(path) for path in before} == before
    assert {key: stored_after.get(key) for key in stored} == stored
    new = {str(path) for path in after.keys() - before.keys()} | (stored_after.keys() - stored)
    folders = tuple(name for name in case.leaves if name.endswith("/"))
    below = {name for name in new if name.startswith(folders)}
    assert all(any(name.startswith(folder) for name in below) for folder in folders)
    assert new - below == {*case.leaves} - {*folders}, "what it leaves"
    return line
