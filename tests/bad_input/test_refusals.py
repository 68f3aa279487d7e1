"""Everything an operator can get wrong, and the one line that says where, which rule, and what."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.bad_input import captions, command_lines, configs, edits, evaluations, exports, language
from tests.bad_input.checkpoints import CHECKPOINTS
from tests.bad_input.command_lines import COMMAND_LINES
from tests.bad_input.configs import CONFIGS
from tests.bad_input.lists import LISTS
from tests.bad_input.runs import RUNS
from tests.bad_input.s3 import S3, emulator, refused_by_s3
from tests.bad_input.table import Case, refused
from tests.bad_input.trainings import OPTIONS, TRAININGS
from tests.bad_input.unfitting import UNFITTING
from tests.environment import verbs_made_once
from tests.servers.fixtures import S3Access

ROOT = Path(__file__).parents[2]
EARLY = [*LISTS, *CONFIGS, *CHECKPOINTS, *UNFITTING, *RUNS, *COMMAND_LINES, *OPTIONS, *edits.EDITS]
EARLY += [*evaluations.EVALUATIONS, *captions.ASKED, *exports.EXPORTS, *language.EARLY]
LATE = [*configs.LATE, *command_lines.LATE, *TRAININGS, *edits.LATE, *evaluations.LATE]
LATE += [*captions.LATE, *language.LATE]
HEAVY = {"torch", "ray", "diffusers", "transformers", "open_clip"}
"""What takes seconds to import."""


@pytest.mark.parametrize("case", EARLY + LATE, ids=lambda case: case.id)
def test_a_mistake_ends_with_one_line_and_changes_nothing(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    refused(case)


def refuse_all_without_models() -> None:
    """In a fresh process: no refusal comes after torch or ray were imported."""
    with verbs_made_once():
        for case in EARLY:
            with TemporaryDirectory() as folder, chdir(folder):
                refused(case)
            late = HEAVY & set(sys.modules)
            if late:
                sys.exit(f"{case.id}: {sorted(late)} imported")
    print(f"{len(EARLY)} refused")


@pytest.mark.long
def test_every_mistake_is_found_before_torch_or_ray_is_imported() -> None:
    program = "from tests.bad_input.test_refusals import refuse_all_without_models as main; main()"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{len(EARLY)} refused\n"


@pytest.fixture(scope="module")
def access() -> Iterator[S3Access]:
    with emulator() as found:
        yield found


@pytest.mark.parametrize("case", S3, ids=lambda case: case.id)
def test_a_mistake_about_s3_ends_with_one_line_and_changes_nothing(
    case: Case, access: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused_by_s3(case, access, monkeypatch)
