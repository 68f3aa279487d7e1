"""What is told of a whole job: a planted ledger by numbers, intervals by how often they hold, refusals."""

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cluster.forecast.acceptance import Range, rest_of
from cluster.forecast.forecast import Gpu, Workforce, forecast
from cluster.forecast.pilot import Pilot, most_at_once, read_pilot, worker_seconds
from editmill import app
from factory.errors import ConfigError, RunMismatch
from factory.ledger.plan import Plan, write_plan
from factory.ledger.run import Run, create_run
from factory.ledger.units.commits import Attempt, write_commit
from factory.ledger.units.outcomes import Data, Outcomes
from factory.pairs.tally import tally_of
from factory.storage.local import LocalStore
from schemas.candidate import Candidate, Verdict
from schemas.running.environment import NOWHERE, Environment
from schemas.triplet import Triplet
from tests.factory.work.toy_stage import LAYOUT
from tests.stub_source import recipe

GPU = Environment(
    device="a GPU", wheels={}, batch_pairs=1, decode_pairs=1, threads=1, attention="none"
)
NONE = {"clip_sim_0": None, "clip_sim_1": None, "clip_sim_dir": None, "clip_sim_image": None}


@dataclass(frozen=True)
class Took(Attempt):
    """A try that was begun at a moment and took so long."""

    took: float = 0.0

    @property
    def seconds(self) -> float:
        return self.took


def planted(folder: Path, triplets: int, **fields: object) -> tuple[Run, Plan, list[Triplet]]:
    listed = [
        Triplet(
            original_prompt=f"before {number}",
            edit_prompt="edit",
            edited_prompt=f"after {number}",
            edit_kind="shape" if number % 2 else None,
        )
        for number in range(triplets)
    ]
    run = create_run(LocalStore(str(folder)), recipe(candidates=3, **fields))
    return run, write_plan(run, listed, run.recipe.unit_triplets), listed


def commit(
    run: Run,
    unit: int,
    triplets: list[Triplet],
    kept: list[int],
    begun: float,
    took: float,
    environment: Environment = GPU,
) -> None:
    """A unit of so many pairs of each triplet, its pairs stored as 100 bytes each."""
    rows = [
        Candidate(
            triplet_id=triplet.triplet_id,
            index=index,
            seed=index,
            p2p_threshold=0.5,
            cfg_scale=1.0,
            **NONE,
            verdict=Verdict.ACCEPTED if index < pairs else Verdict.REJECTED,
            reason=None,
            borderline=False,
            truncated=False,
        )
        for triplet, pairs in zip(triplets, kept, strict=True)
        for index in range(3)
    ]
    data = Data(b"x" * 100 * sum(kept), sum(kept)) if sum(kept) else None
    outcomes = Outcomes(rows, tally_of(rows, triplets), environment, data)
    assert write_commit(run, unit, outcomes, Took(started=begun, took=took))


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Five triplets in units of two, the third committed before the second; 10 s for each triplet."""
    opened, _, listed = planted(tmp_path / "run", 7)
    commit(opened, 0, listed[:2], [2, 0], 1000.0, 20.0)
    commit(opened, 2, listed[4:6], [0, 1], 1020.0, 20.0)
    commit(opened, 3, listed[6:], [1], 5000.0, 10.0)
    return str(tmp_path / "run")


def test_a_pilot_is_what_its_commits_say(run: str) -> None:
    pilot = read_pilot(run)
    sizes = [path.stat().st_size for path in (Path(run) / "commits").rglob("*.parquet")]
    assert pilot == Pilot(
        uri=run,
        kinds=("not given", "shape", "not given", "shape", "not given"),
        kept=(2, 0, 0, 1, 1),
        candidates=3,
        most=2,
        unit_triplets=2,
        unit_s=(20.0, 20.0, 20.0),  # the last holds one triplet, and took half as long
        calls=1,
        device="a GPU",
        pair_bytes=100.0,
        unit_bytes=sum(sizes) / 3,
    )
    assert (pilot.triplets, pilot.pairs, pilot.of_kind("shape")) == (5, 4, [0, 1])


def test_the_whole_job_by_numbers(run: str) -> None:
    """Of 105 triplets 100 are left: 50 units of 20 s, 10 for each of 5 workers that need 30 s to start."""
    pilot = read_pilot(run)
    found = forecast(
        pilot,
        105,
        Workforce(workers=5, start_up_s=30),
        [Gpu("same", 36.0), Gpu("faster", None, 4.0)],
    )
    same, faster = found.spendings
    assert (found.triplets, found.units) == (100, 50)
    assert same.hours == certain((30 + 10 * 20) / 3600)
    assert same.gpu_hours == certain(5 * 230 / 3600)
    assert same.busy == certain(200 / 230)
    assert same.cost == certain(36 * 5 * 230 / 3600)
    assert same.preemptions == certain(0)
    assert same.cost_per_pair == about(found.pairs.under(11.5))
    assert (faster.hours, faster.cost) == (certain((30 + 10 * 5) / 3600), None)
    assert found.stored == about(
        Range(*(100 * n + 50 * pilot.unit_bytes for n in ends(found.pairs)))
    )
    assert found.total.pilot_share == pytest.approx(4 / 15)
    assert found.total.share == about(found.pairs.times(1 / 300))
    assert found.total.pairs_per_triplet == about(found.pairs.times(1 / 100))
    assert found.total.candidates_per_pair == about(found.pairs.under(300))
    assert [(one.kind, one.pilot_triplets) for one in found.by_kind] == [
        ("not given", 3),
        ("shape", 2),
    ]
    # Nobody may keep more than two of three.
    assert found.total.share.high <= 2 / 3
    assert 0 < found.total.with_pairs.low < found.total.with_pairs.high < 1


def ends(one: Range) -> tuple[float, float, float]:
    return one.middle, one.low, one.high


def certain(value: float) -> object:
    return about(Range(value, value, value))


def about(one: Range) -> object:
    """Equal but for the last digits."""

    class About:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Range) and ends(other) == pytest.approx(ends(one))

        def __repr__(self) -> str:
            return f"about {one}"

    return About()


def test_units_that_differ_make_the_time_uncertain_by_students_t() -> None:
    """Of 5 units with a mean of 30 s and an error of it of 7.07 s the mean lies within 2.132 of it."""
    pilot = made_up([1] * 10, most=3, unit_s=(10.0, 20.0, 30.0, 40.0, 50.0))
    (found,) = forecast(pilot, 20_010, Workforce(start_up_s=0), [Gpu("one")]).spendings
    expected = Range(*(10_000 * (30 + t * 7.071) / 3600 for t in (0, -2.132, 2.132)))
    assert ends(found.hours) == pytest.approx(ends(expected), rel=0.05)


def made_up(kept: list[int], most: int, unit_s: tuple[float, ...] = (1.0, 1.0)) -> Pilot:
    kinds = ("colour",) * len(kept)
    return Pilot("here", kinds, tuple(kept), 4, most, 2, unit_s, 1, "none", None, 1000.0)


def test_a_long_job_is_simulated_in_part_and_is_in_proportion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster.forecast.forecast.MOST_UNITS", 5000)
    monkeypatch.setattr("cluster.forecast.forecast.SIMULATED", 100_000)
    pilot = made_up([1] * 10, most=3, unit_s=(8.0, 8.0))
    pool = Workforce(workers=10, start_up_s=100)
    (found,) = forecast(pilot, 400_010, pool, [Gpu("one")]).spendings
    assert found.hours == certain((100 + 200_000 / 10 * 8) / 3600)
    often = Workforce(workers=10, start_up_s=100, preempted_every_s=1000.0)
    (taken,) = forecast(pilot, 400_010, often, [Gpu("one")]).spendings
    # What is left of a life that ends at random after 1000 s, once it has started; some 116 s of a notice
    # are waited out.
    assert taken.busy.middle == pytest.approx(math.exp(-0.1) * (1 - 0.116), abs=0.02)
    assert taken.preemptions.middle == pytest.approx(taken.gpu_hours.middle * 3.6, rel=0.1)


def test_a_long_job_begins_and_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three workers wait for the last unit, and all start for 1000 s: what is simulated of a job
    does both, and the job as a whole no more often."""
    monkeypatch.setattr("cluster.forecast.forecast.MOST_UNITS", 300)
    pilot = made_up([1] * 10, most=3, unit_s=(8.0, 8.0))
    pool = Workforce(workers=3, start_up_s=1000)
    (found,) = forecast(pilot, 10 + 2 * 3001, pool, [Gpu("one")]).spendings
    assert ends(found.hours) == pytest.approx([(1000 + 1000.33 * 8) / 3600] * 3, rel=0.002)
    assert ends(found.gpu_hours) == pytest.approx([3 * n for n in ends(found.hours)])
    assert ends(found.busy) == pytest.approx([3001 * 8 / (3 * 9003)] * 3, rel=0.002)


def test_the_odds_of_few_triplets_are_what_bayes_says() -> None:
    """Against the same law written out by quadrature."""
    kept, most, ahead = [0, 0, 1, 2], 2, 3
    chance = dict.fromkeys(range(most * ahead + 1), 0.0)
    total = 0.0
    for arc in (np.arange(200) + 0.5) / 200:
        mean = math.sin(math.pi / 2 * arc) ** 2
        for like in (np.arange(200) + 0.5) / 200:
            a, b = mean * (1 - like) / like, (1 - mean) * (1 - like) / like
            each = [
                math.comb(most, k) * math.exp(beta(a + k, b + most - k) - beta(a, b))
                for k in range(most + 1)
            ]
            weight = math.prod(each[k] for k in kept)
            total += weight
            for sums, p in enumerate(np.convolve(np.convolve(each, each), each)):
                chance[sums] += weight * p
    pairs = rest_of(kept, most, ahead).pairs
    for sums, weight in chance.items():
        assert np.mean(pairs == sums) == pytest.approx(weight / total, abs=0.025)


def beta(a: float, b: float) -> float:
    """log of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def test_a_large_sample_is_told_apart_finely() -> None:
    """20,000 triplets know their mean to a thousandth; a grid that is drawn once does not."""
    rng = np.random.default_rng(1)
    kept = rng.binomial(3, rng.beta(2, 6, 20_000))
    found = Range.of(rest_of(kept.tolist(), 3, 100_000).pairs / 100_000)
    width = 2 * 1.645 * kept.std() * math.sqrt(1 / 20_000 + 1 / 100_000)
    assert found.high - found.low == pytest.approx(width, rel=0.1)
    assert found.middle == pytest.approx(kept.mean(), abs=width / 8)


SHAPES = {
    # mean and likeness of two kinds of equal number, most, least and most of the time that it may hold
    "as the miniature": ((0.25, 0.2), (0.2, 0.15), 3, 0.85, 0.95),
    "two kinds": ((0.02, 0.1), (0.8, 0.1), 8, 0.85, 0.95),
    "independent candidates": ((0.2, 0.001), (0.2, 0.001), 8, 0.85, 0.98),
    "all alike": ((0.3, 0.99), (0.3, 0.99), 8, 0.85, 0.95),
    "rare": ((0.01, 0.1), (0.01, 0.1), 8, 0.85, 0.99),
    "rare of many": ((0.01, 0.2), (0.01, 0.2), 30, 0.83, 0.99),
    "nearly all": ((0.97, 0.3), (0.97, 0.3), 8, 0.85, 0.99),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_interval_holds_what_comes_as_often_as_it_says(shape: str) -> None:
    """Pilots of 40 triplets, each of another list of 400."""
    *kinds, most, least, greatest = SHAPES[shape]
    rng = np.random.default_rng(20)
    held = []
    for _ in range(200):
        mean, like = np.array(kinds)[rng.integers(2, size=400)].T
        odds = (1 - like) / like
        kept = rng.binomial(most, rng.beta(mean * odds, (1 - mean) * odds))
        rest = rest_of(kept[:40].tolist(), most, 360)
        held.append(Range.of(rest.pairs).holds(kept[40:].sum()))
    assert least <= np.mean(held) <= greatest


@pytest.mark.parametrize(("every", "least", "greatest"), [(0, 0.0, 0.03), (8, 0.97, 1.0)])
def test_where_none_or_all_passed_the_interval_still_has_a_width(
    every: int, least: float, greatest: float
) -> None:
    found = Range.of(rest_of([every] * 40, 8, 360).pairs / (8 * 360))
    assert least <= found.low < found.high <= greatest
    assert found.holds(every / 8)


def test_units_in_hand_at_once_share_the_workers_and_pauses_are_nobodys() -> None:
    assert worker_seconds([(0, 10), (4, 14)], workers=1) == [7, 7]
    assert worker_seconds([(0, 10), (4, 14)], workers=2) == [10, 10]
    assert worker_seconds([(0, 8), (0, 8), (0, 8), (90, 92)], workers=2) == pytest.approx(
        [16 / 3, 16 / 3, 16 / 3, 2]
    )
    assert most_at_once([(0, 10), (4, 14), (10, 20)]) == 2


def test_a_worker_with_two_in_hand_takes_half_the_time_of_each(tmp_path: Path) -> None:
    opened, _, listed = planted(tmp_path / "run", 4)
    commit(opened, 0, listed[:2], [1, 1], 0.0, 30.0)
    commit(opened, 1, listed[2:], [1, 1], 0.0, 30.0)
    pilot = read_pilot(str(tmp_path / "run"))
    assert (pilot.unit_s, pilot.calls) == ((15.0, 15.0), 2)
    pilot = read_pilot(str(tmp_path / "run"), workers=2)
    assert (pilot.unit_s, pilot.calls) == ((30.0, 30.0), 1)


def test_units_that_were_given_up_count_for_what_is_kept_and_not_for_the_time(
    tmp_path: Path,
) -> None:
    opened, _, listed = planted(tmp_path / "run", 6)
    commit(opened, 0, listed[:2], [1, 1], 0.0, 30.0)
    commit(opened, 1, listed[2:4], [0, 0], 30.0, 0.1, NOWHERE)
    commit(opened, 2, listed[4:], [1, 0], 31.0, 50.0)
    pilot = read_pilot(str(tmp_path / "run"))
    assert (pilot.kept, pilot.unit_s) == ((1, 1, 0, 0, 1, 0), (30.0, 50.0))


@pytest.fixture
def crowd(tmp_path: Path) -> str:
    """Three units at once."""
    opened, _, listed = planted(tmp_path / "crowd", 6)
    for unit in range(3):
        commit(opened, unit, listed[2 * unit : 2 * unit + 2], [0, 0], unit * 1.0, 30.0)
    return str(tmp_path / "crowd")


def test_more_in_hand_than_one_worker_has_asks_how_many_there_were(crowd: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_pilot(crowd)
    assert str(refused.value) == (
        "--pilot-workers: must be given where more than 2 units were in hand at once, got none and 3 at "
        f"once; how many workers made {crowd}?"
    )
    assert read_pilot(crowd, workers=3).unit_s == (30.0, 30.0, 30.0)


def test_without_a_pair_storage_and_cost_per_pair_have_no_end(crowd: str) -> None:
    found = forecast(read_pilot(crowd, workers=3), 100, Workforce(), [Gpu("one", 1.0)])
    assert (found.stored, found.pairs.low) == (None, 0)
    plain = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert plain["by_gpu"][0]["cost_per_pair"]["high"] is None
    assert plain["acceptance"]["candidates_per_pair"]["high"] is None
    assert plain["rest"]["stored_bytes"] is None


def test_a_run_of_another_stage_is_refused(tmp_path: Path) -> None:
    create_run(LocalStore(str(tmp_path / "run")), recipe(), "conditional", LAYOUT)
    with pytest.raises(RunMismatch) as refused:
        read_pilot(str(tmp_path / "run"))
    assert str(refused.value) == (
        f"{tmp_path}/run: must be a run of generate, got one of shout; forecast tells pairs"
    )


@pytest.mark.parametrize("committed", [None, 0, 1])
def test_a_run_with_less_than_two_units_is_refused(tmp_path: Path, committed: int | None) -> None:
    if committed is None:
        create_run(LocalStore(str(tmp_path / "run")), recipe())
    else:
        opened, _, listed = planted(tmp_path / "run", 4)
        for unit in range(committed):
            commit(opened, unit, listed[:2], [0, 1], 0.0, 1.0)
    with pytest.raises(RunMismatch) as refused:
        read_pilot(str(tmp_path / "run"))
    assert str(refused.value) == (
        f"{tmp_path}/run: must hold 2 units that were made at least, got {committed or 0}; make a pilot "
        "first: generate --limit 40, of a list in random order"
    )


@pytest.mark.parametrize("captions", [4, 5])
def test_a_list_without_a_rest_is_refused(run: str, captions: int) -> None:
    with pytest.raises(ConfigError) as refused:
        forecast(read_pilot(run), captions, Workforce(), [])
    assert str(refused.value) == (
        f"--captions: must be more than the pilot's 5 triplets, got {captions}; it is the length of the "
        "whole list"
    )


def test_nodes_that_live_too_short_for_a_unit_are_refused(run: str) -> None:
    pool = Workforce(start_up_s=100.0, preempted_every_s=39.0)
    with pytest.raises(ConfigError) as refused:
        forecast(read_pilot(run), 105, pool, [Gpu("one")])
    assert str(refused.value) == (
        "--preempted-every: must be at least 0.33 of a start-up and what a worker has in hand (120 s at "
        "worst), got 39 s; make smaller units (recipe.unit_triplets), or a longer pilot that tells better "
        "what they take"
    )


def test_gpus_are_read_and_what_is_none_is_refused() -> None:
    assert Gpu.read("H100=2.5:8") == Gpu("H100", 2.5, 8.0)
    assert Gpu.read("A100 80 GB=1") == Gpu("A100 80 GB", 1.0, 1.0)
    for text in (
        "H100",
        "=2",
        "H100=",
        "H100=x",
        "H100=1:0",
        "H100=1:",
        "H100=1:2:3",
        "H100=1.2.3",
    ):
        with pytest.raises(ConfigError) as refused:
            Gpu.read(text)
        assert str(refused.value) == (
            "--gpu: must be TYPE=PRICE or TYPE=PRICE:SPEED, an hour's price and how many times faster than "
            f"the pilot's, got {text!r}; for example H100=2.5:8"
        )


def asked(words: str) -> Result:
    return CliRunner().invoke(app, shlex.split(words))


def test_the_command_prints_one_json_object_and_writes_nothing(run: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    words = f"forecast {run} --captions 105 --workers 5 --start-up 30 --gpu T4=0.5 --gpu H100=3:4"
    result = asked(f"{words} --json")
    assert result.exit_code == 0
    plain = json.loads(result.stdout)
    assert plain["pilot"] == {
        "triplets": 5,
        "candidates": 15,
        "pairs": 4,
        "units": 3,
        "unit_seconds": 20.0,
        "calls": 1,
        "device": "a GPU",
    }
    assert {k: plain["rest"][k] for k in ("triplets", "units", "candidates")} == {
        "triplets": 100,
        "units": 50,
        "candidates": 300,
    }
    assert [one["gpu"] for one in plain["by_gpu"]] == [
        {"name": "T4", "price": 0.5, "speed": 1.0},
        {"name": "H100", "price": 3.0, "speed": 4.0},
    ]
    assert plain["by_gpu"][0]["hours"]["middle"] == pytest.approx(230 / 3600)
    assert plain["acceptance"]["share"].keys() == {"middle", "low", "high"}
    assert asked(f"{words} --json").stdout == result.stdout  # the same pilot tells the same
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_shows_tables(run: str) -> None:
    result = asked(f"forecast {run} --captions 105 --preempted-every 2 --price-per-gpu-hour 36")
    assert result.exit_code == 0
    facts = dict(line.split("  ", 1) for line in result.stdout.splitlines() if "  " in line)
    facts = {name: fact.strip() for name, fact in facts.items()}
    assert facts["pilot"] == "5 triplets, 4 pairs of 15 candidates, on a GPU"
    assert facts["rest"] == "100 triplets, 50 units, 300 candidates"
    assert facts["workers"] == (
        "1, 180 s to start, preempted every 2.0 hours on average, told 120 s before"
    )
    shown = result.stdout
    for word in ("shape", "not given", "all", "26.7%", "a GPU"):
        assert f"│ {word}" in shown
    assert "between what it lies with a chance of 90%" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--captions 4", "--captions: must be more than the pilot's 5 triplets, got 4"),
        ("--captions 9 --gpu T4", "--gpu: must be TYPE=PRICE or TYPE=PRICE:SPEED"),
        (
            "--captions 9 --gpu T4=1 --price-per-gpu-hour 1",
            "--price-per-gpu-hour: must not be given with --gpu, got both",
        ),
        ("", "Missing option '--captions'"),
    ],
)
def test_the_command_refuses_with_2(run: str, words: str, message: str) -> None:
    result = asked(f"forecast {run} {words}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"editmill: {message}")


def test_the_command_has_help() -> None:
    result = asked("forecast --help")
    assert (result.exit_code, "--preempted-every" in result.stdout) == (0, True)
