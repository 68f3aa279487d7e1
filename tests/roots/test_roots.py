"""Roots that an earlier release wrote are read, gone on with, sealed and collected as it would have done.

Whatever is made anew, moved or given another name inside the program: not one stored byte changes.
"""

import json
import re
import shutil
from pathlib import Path

import pyarrow
import pytest

from factory.dataset.run_card import NAME
from factory.ledger import keys
from factory.ledger.manifest import newest_manifest, sealed_data_uris
from factory.ledger.run import open_run
from tests.roots.steps import still, walk

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expected.json").read_text())
WRITTEN_WITH = EXPECTED.pop("pyarrow")


def test_what_is_pinned_is_what_wrote_them():
    """Else the test below is skipped wherever the constraints are installed, and nobody hears of it."""
    constraints = (HERE.parents[1] / "constraints.txt").read_text()
    assert re.findall(r"^pyarrow==(.+)$", constraints, re.MULTILINE) == [WRITTEN_WITH]


@pytest.mark.skipif(
    pyarrow.__version__ != WRITTEN_WITH,
    reason=f"another pyarrow writes other bytes: {WRITTEN_WITH}",
)
@pytest.mark.parametrize("name", EXPECTED)
def test_every_byte_and_every_word_is_as_it_was(name, tmp_path):
    copy = tmp_path / name
    shutil.copytree(HERE / name, copy)
    assert walk(copy) == EXPECTED[name]
    with still():
        run = open_run(str(copy))
        named = {keys.scores(part.key) for part in newest_manifest(run)[1].parts}
        names = [uri.removeprefix(f"{run.uri}/") for uri in sealed_data_uris(run)]
    assert named <= {f"{keys.SCORES}{path.name}" for path in (copy / keys.SCORES).iterdir()}
    listed = re.findall(r"^    - (.+)$", (copy / NAME).read_text(), re.MULTILINE)
    assert listed == names != []
