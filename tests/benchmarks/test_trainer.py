"""The trainer's benchmark in small: that it runs, on the model that it promises, and what cannot vary."""

import argparse

import pytest

from benchmarks.trainer import on_cpu


@pytest.mark.long
def test_the_benchmark_runs_on_the_model_that_is_asked_for():
    figures = on_cpu(argparse.Namespace(batch=2, steps=1, repeats=1, threads=1))
    assert figures["encodes_over_step_flops"] == pytest.approx(1, abs=0.05), "as in SD 1.5"
    assert figures["cached_bitwise"]
    assert figures["resume_bitwise"]
    assert figures["over_diffusers_law"] > 0
