"""Seconds of calls and of what runs inside them, on a CPU in place of a GPU."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from benchmarks.on_gpu.device_time import (
    Memory,
    busy_and_wall,
    covered,
    place,
    seconds_of,
    waits_in,
)

CPU = torch.device("cpu")


def test_spans_that_overlap_count_once():
    assert covered([(5, 7), (0, 2), (1, 3), (1, 2), (7, 8)]) == 3 + 2 + 1
    assert covered([]) == 0


def test_the_busy_time_of_a_call_lies_within_its_own():
    torch.set_num_threads(1)
    a = torch.randn(300, 300)
    busy_and_wall(lambda: a @ a, CPU)
    busy, wall = busy_and_wall(lambda: [a @ a for _ in range(20)], CPU)
    assert 0 < busy <= wall


def test_what_runs_in_two_threads_at_once_counts_once():
    a = torch.randn(300, 300)
    begun = Barrier(2)

    def act(_):
        torch.set_num_threads(1)
        begun.wait(30)
        return [a @ a for _ in range(20)]

    with ThreadPoolExecutor(2) as two:
        busy, wall = busy_and_wall(lambda: list(two.map(act, range(2))), CPU)
    assert 0 < busy <= wall


def test_a_profiler_that_saw_nothing_is_no_idle_device():
    with pytest.raises(RuntimeError, match="saw nothing"):
        busy_and_wall(lambda: None, CPU)


def test_three_calls_at_least_while_there_is_time():
    calls = []
    assert len(seconds_of(lambda: calls.append(1), CPU, 0.0, lambda: 60.0)) == len(calls) == 3
    assert len(seconds_of(lambda: calls.append(1), CPU, 0.0, lambda: -1.0)) == 1
    assert len(seconds_of(lambda: calls.append(1), CPU, 60.0, lambda: 60.0)) == 50


def test_a_cpu_makes_nobody_wait_and_its_memory_is_the_process():
    calls = []
    assert waits_in(lambda: calls.append(1), CPU) == []
    assert calls == [1]
    memory = Memory(CPU)
    memory.forget()
    assert memory.peak()["peak_process_gib"] > 0


def test_places_name_no_folder_of_this_machine():
    assert place("/a/b/site-packages/torch/x.py") == "torch/x.py"
    assert place(__file__) == "tests/benchmarks/test_device_time.py"
    assert place("/elsewhere/y.py") == "y.py"
