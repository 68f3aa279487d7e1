"""The most memory that a process held, and that what its parent held does not count."""

import subprocess
import sys

import pytest

from benchmarks.memory import ended, peak_mib


def test_a_child_holds_what_it_takes_itself():
    held = bytearray(400 * 2**20)
    peaks = []
    for mib in (0, 150):
        words = f"held = bytearray({mib} * 2**20); import time; time.sleep(0.5)"
        code, used, peak = ended(subprocess.Popen([sys.executable, "-c", words]))
        assert code == 0
        assert used.ru_utime > 0
        peaks.append(peak)
    assert peak_mib() > len(held) / 2**20
    assert peaks[0] < 100
    assert 145 < peaks[1] - peaks[0] < 160


def test_a_process_that_is_gone_has_no_memory():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(OSError, match=str(process.pid)):
        peak_mib(process.pid)
