"""A training whose root was deleted or unmounted ends at its next checkpoint, and writes nothing there."""

import shutil

import pytest

from factory import deeds
from factory.errors import StorageRefused
from tests.trainer.small import small, train, write_pairs


def test_it_is_not_made_anew(tmp_path):
    dataset, out = write_pairs(tmp_path / "pairs"), tmp_path / "out"

    def gone(line):
        if "step 2/" in line and out.exists():
            shutil.rmtree(out)

    deeds.anew()
    config = small(law={"steps": 6}, watching={"checkpoint_every": 3, "report_every": 1})
    with pytest.raises(
        StorageRefused, match=r"FIT\.json is gone: was the training deleted"
    ) as ended:
        train(config, dataset, out, say=gone)
    assert not out.exists()
    # Steps were done: a rerun, elsewhere or once it is mounted again, goes on.
    assert deeds.exit_code(ended.value) == 3
