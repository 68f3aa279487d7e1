"""Whole jobs over the stub: seal, resume, guards, verify, status."""

import json
import os
import re
import signal
import time
from dataclasses import replace

import pytest
from rich.console import Console

from factory.console import progress
from factory.errors import Damaged
from factory.ledger import keys
from factory.ledger.manifest import manifest_hash, newest_manifest, sealed_data_uris, unit_lines
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.ledger.seal import Incomplete, seal
from factory.ledger.status import status
from factory.ledger.units.commits import read_commit
from factory.pairs.sheet import contact_sheet, sealed_pairs
from factory.pairs.source import Made
from factory.pairs.tally import tally_of
from factory.pairs.verify import candidates_of, verify
from factory.storage.local import LocalStore
from factory.verbs.results import print_status, rows_per_accepted
from factory.work.guards import MOST_LOST
from factory.work.reports import UnitProblem
from schemas.config import Config
from schemas.triplet import Triplet
from tests.making import generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


def start(folder, count=9, **fields):
    store = LocalStore(str(folder))
    run = create_run(store, recipe(**fields))
    return run, write_plan(run, triplets(count), run.recipe.unit_triplets)


def config(**groups):
    return Config.model_validate({"recipe": recipe(), **groups})


def finish(run, plan, source=None, **groups):
    return run_job(run, plan, config(**groups), run_here(lambda _: source or StubSource()))


def test_whole_job_seals_and_verifies(tmp_path):
    run, plan = start(tmp_path)
    result = finish(run, plan)
    assert result.exit_code == 0
    assert not result.sealed.partial
    found = verify(run)
    assert found.damages == []
    assert (found.units, found.open_units, found.rows) == (5, 0, result.sealed.counts["accepted"])
    assert (
        result.sealed.counts["accepted"]
        + result.sealed.counts["rejected"]
        + result.sealed.counts["failed"]
        == 9 * 12
    )


def test_on_a_terminal_a_bar_shows_units_and_pairs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=120)
    )
    run, plan = start(tmp_path)
    result = finish(run, plan)
    shown = re.sub(r"\x1b\[[0-9;?]*\w", "", capsys.readouterr().err)
    pairs = result.sealed.counts["accepted"]
    assert re.search(rf"units ━+ 5/5 {pairs} pairs", shown), shown


def test_equal_runs_have_equal_manifests_whatever_the_order(tmp_path):
    results = []
    for order in ("forward", "backward"):
        run, plan = start(tmp_path / order)
        results.append(finish(run, plan, compute={"unit_order": order}).manifest_hash)
    assert results[0] == results[1]
    other, plan = start(tmp_path / "other", run_seed=1)
    assert finish(other, plan).manifest_hash != results[0]


def test_killed_job_resumes_without_making_anything_twice(tmp_path):
    whole, plan = start(tmp_path / "whole")
    undisturbed = finish(whole, plan)
    run, plan = start(tmp_path / "killed")
    countdown = iter(range(60))

    class Killed(BaseException):
        pass

    def die():
        if next(countdown, None) is None:
            raise Killed

    source = StubSource(on_draw=die)
    with pytest.raises(Killed):
        finish(run, plan, source)
    committed = {(r.triplet_id, r.index) for r in rows(run)}
    again = StubSource()
    result = finish(run, plan, again)
    assert result.manifest_hash == undisturbed.manifest_hash
    assert not committed & set(again.made)
    assert len(committed) + len(again.made) == 9 * 12


def rows(run):
    from factory.ledger.units.commits import committed_units

    return [r for u in committed_units(run.store) for r in candidates_of(read_commit(run, u))]


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_with_3_after_the_unit_in_hand_and_a_rerun_completes(tmp_path, name):
    run, plan = start(tmp_path)
    source = StubSource(on_draw=lambda: os.kill(os.getpid(), name) if not source.made else None)
    before = signal.getsignal(name)
    result = finish(run, plan, source)
    assert (result.exit_code, result.units_made) == (3, 1)
    assert "resume" in result.message
    assert result.sealed is None
    assert signal.getsignal(name) is before
    assert finish(run, plan).exit_code == 0


def test_guard_stops_a_runner_that_reports_nothing(tmp_path):
    run, plan = start(tmp_path)
    asked = []

    def waiting(run, plan, units, config, should_stop):
        while not should_stop():
            asked.append(time.monotonic())
        yield from ()

    # A ten-thousandth of a second of one worker.
    result = run_job(run, plan, config(budget={"max_gpu_hours": 3e-5}), waiting)
    assert (result.exit_code, result.units_made) == (4, 0)
    assert asked


def test_guards_word_goes_before_a_problems(tmp_path):
    run, plan = start(tmp_path)

    def failing(run, plan, units, config, should_stop):
        yield UnitProblem(0, "StorageUnavailable: no answer")
        for unit in units[1:]:
            yield generate_unit(run, plan, unit, StubSource())

    budget = {"acceptance_floor": 0.99, "floor_after": 24}
    result = run_job(run, plan, config(budget=budget), failing)
    assert result.exit_code == 4
    assert result.sealed.partial


def test_unit_that_cannot_be_committed_ends_with_3_and_names_it(tmp_path):
    run, plan = start(tmp_path)

    def failing(run, plan, units, config, should_stop):
        for unit in units:
            if unit == 2:
                yield UnitProblem(unit, "StorageUnavailable: no answer")
            else:
                yield generate_unit(run, plan, unit, StubSource())

    result = run_job(run, plan, config(), failing)
    assert result.exit_code == 3
    assert "no answer" in result.message
    assert newest_manifest(run) is None


def test_lost_units_count_only_in_a_row(tmp_path):
    run, plan = start(tmp_path, count=40)

    def failing(run, plan, units, config, should_stop):
        for unit in units:
            assert not should_stop()
            if unit % MOST_LOST:
                yield UnitProblem(unit, "StorageUnavailable: no answer")
            else:
                yield generate_unit(run, plan, unit, StubSource())

    result = run_job(run, plan, config(), failing)
    assert (result.exit_code, len(result.problems)) == (3, 16)


def test_limit_rounds_up_to_units_and_seals_a_snapshot(tmp_path):
    run, plan = start(tmp_path)
    result = finish(run, plan, budget={"limit": 3})
    assert (result.exit_code, result.units_made, result.sealed.partial) == (0, 2, True)
    again = finish(run, plan, budget={"limit": 3})
    assert again.units_made == 0
    assert again.manifest_hash == result.manifest_hash
    assert len(list(run.store.list("manifest/0"))) == 1


@pytest.mark.parametrize("left", [1, 5])
def test_a_runner_that_ends_early_without_a_word_is_no_limit_and_seals_nothing(tmp_path, left):
    run, plan = start(tmp_path)

    def silent(run, plan, units, config, should_stop):
        for unit in units[: len(units) - left]:
            yield generate_unit(run, plan, unit, StubSource())

    result = run_job(run, plan, config(), silent)
    assert (result.exit_code, result.sealed) == (3, None)
    assert result.message.startswith(
        f"{left} of 5 units are not committed, and no worker said why; "
    )
    assert newest_manifest(run) is None
    assert finish(run, plan).exit_code == 0


def test_a_limit_that_is_not_covered_is_not_reached(tmp_path):
    run, plan = start(tmp_path)

    def lazy(run, plan, units, config, should_stop):
        yield generate_unit(run, plan, units[0], StubSource())

    result = run_job(run, plan, config(budget={"limit": 3}), lazy)
    assert (result.exit_code, result.sealed) == (3, None)
    assert result.message.startswith("1 of 2 units are not committed")
    again = finish(run, plan, budget={"limit": 3})
    assert again.exit_code == 0
    assert again.message.startswith(
        "limit reached: 2 of 5 units; 9 could not be made, first candidate "
    )


def test_a_limit_that_others_covered_is_reached_whatever_failed_here(tmp_path):
    run, plan = start(tmp_path)

    def overtaken(run, plan, units, config, should_stop):
        for unit in units:
            generate_unit(run, plan, unit, StubSource())
            yield UnitProblem(unit, "StorageUnavailable: no answer")

    result = run_job(run, plan, config(budget={"limit": 3}), overtaken)
    assert result.exit_code == 0
    assert result.message.startswith("limit reached: 2 of 5 units; 9 could not be made")


def test_a_signal_after_the_last_unit_of_a_limit_ends_it_well(tmp_path):
    run, plan = start(tmp_path)
    source = StubSource(
        on_draw=lambda: os.kill(os.getpid(), signal.SIGTERM) if len(source.made) == 47 else None
    )
    result = finish(run, plan, source, budget={"limit": 3})
    assert (result.exit_code, result.units_made) == (0, 2)


def test_pairs_that_the_store_does_not_show_are_no_reached_target(tmp_path):
    run, plan = start(tmp_path)

    def boasting(run, plan, units, config, should_stop):
        made = generate_unit(run, plan, units[0], StubSource())
        yield replace(made, counts={"accepted": 1000})

    result = run_job(run, plan, config(budget={"target_pairs": 900}), boasting)
    assert (result.exit_code, result.sealed) == (3, None)


class Dim(StubSource):
    """Its pictures show little of their prompts."""

    def pairs(self, draws):
        for made in super().pairs(draws):
            if isinstance(made, Made):
                dim = made.scores.model_copy(update={"clip_sim_0": 0.1, "clip_sim_1": 0.1})
                made = replace(made, scores=dim)
            yield made


TOOK = r"of {} candidates (\d+) were rejected, by clip_sim_0 \1, clip_sim_1 \1, clip_sim_dir \d+"


def test_a_whole_run_without_a_pair_ends_with_4_and_names_the_gates_that_took_them(tmp_path):
    run, plan = start(tmp_path)
    for _ in range(2):
        result = finish(run, plan, Dim())
        assert (result.exit_code, result.sealed.counts["accepted"], result.sealed.partial) == (
            4,
            0,
            False,
        )
        assert re.match("sealed without one pair: " + TOOK.format(108), result.message)
        first = "first candidate [0-9a-f]{16}: planted"
        said = rf" and \d+ could not be made, {first}; `editmill doctor`"
        assert re.search(said, result.message)


def test_a_limited_run_without_a_pair_says_so(tmp_path):
    run, plan = start(tmp_path)
    result = finish(run, plan, Dim(), budget={"limit": 3})
    assert (result.exit_code, result.sealed.counts["accepted"]) == (0, 0)
    said = r"limit reached: 2 of 5 units; not one pair: " + TOOK.format(48)
    assert re.match(said, result.message)


def test_target_pairs_stops_and_counts_what_the_run_holds(tmp_path):
    run, plan = start(tmp_path)
    result = finish(run, plan, budget={"target_pairs": 3})
    assert result.exit_code == 0
    assert "target of 3" in result.message
    assert 3 <= result.sealed.counts["accepted"] < 12
    assert finish(run, plan, budget={"target_pairs": 3}).units_made == 0


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"max_gpu_hours": 1e-12}, "max_gpu_hours"),
        ({"deadline": "2020-01-01T00:00:00"}, "deadline"),
        ({"acceptance_floor": 0.99, "floor_after": 24}, "acceptance_floor: at least 0.99"),
    ],
)
def test_guard_ends_with_4_and_says_why(tmp_path, budget, words):
    run, plan = start(tmp_path)
    result = finish(run, plan, budget=budget)
    assert result.exit_code == 4
    assert words in result.message
    assert result.units_made < 5
    assert finish(run, plan).exit_code == 0


def test_acceptance_above_the_floor_goes_on(tmp_path):
    run, plan = start(tmp_path)
    budget = {"acceptance_floor": 0.01, "floor_after": 24}
    assert finish(run, plan, budget=budget).exit_code == 0


def test_seal_refuses_open_units_unless_partial(tmp_path):
    run, plan = start(tmp_path)
    generate_unit(run, plan, 1, StubSource())
    with pytest.raises(Incomplete, match="4 of 5 units"):
        seal(run, plan)
    _, manifest = seal(run, plan, partial=True)
    assert (manifest.partial, manifest.units, manifest.items) == (True, 1, 2)
    finish(run, plan)
    sequence, whole = newest_manifest(run)
    assert (sequence, whole.partial) == (1, False)


def test_seal_refuses_a_missing_pairs_object(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    line = next(line for line in unit_lines(run, newest_manifest(run)[1]) if line.data_key)
    (tmp_path / line.data_key).unlink()
    with pytest.raises(Damaged, match=f"unit {line.unit}'s commit names"):
        seal(run, plan)


@pytest.mark.parametrize("prefix", ["commits/", "pairs/", "manifest/parts/", "plan/"])
@pytest.mark.parametrize("how", ["flip", "remove"])
def test_verify_finds_planted_damage(tmp_path, prefix, how):
    run, plan = start(tmp_path)
    finish(run, plan)
    keys_there = [o.key for o in run.store.list(prefix) if o.key.endswith(".parquet")]
    path = tmp_path / keys_there[-1]
    if how == "remove":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)
    damages = verify(run).damages
    assert any(path.name in line or "unit 4" in line for line in damages), damages


def test_verify_finds_a_commit_that_was_swapped_for_another_good_one(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    other, other_plan = start(tmp_path / "elsewhere", run_seed=5)
    finish(other, other_plan)
    (tmp_path / keys.commit(0)).write_bytes(other.store.get(keys.commit(0)))
    damages = "\n".join(verify(run).damages)
    assert "another recipe" in damages
    assert "not the sealed one" in damages


def test_status_counts_by_kind_and_reason(tmp_path):
    run, plan = start(tmp_path)
    result = finish(run, plan)
    state = status(run, plan)
    triplets = [Triplet.model_validate(item) for item in plan.all_items()]
    assert state.counts["accepted"] == result.sealed.counts["accepted"]
    assert sum(sum(t.values()) for t in state.tally.by_kind.values()) == 9 * 12
    assert set(state.tally.by_kind) == {"colour", "shape", "not given"}
    assert state.tally.reasons["keep"] > 0
    assert state.counts == tally_of(rows(run), triplets).total
    assert state.sealed["manifest_hash"] == manifest_hash(run, result.sealed)
    assert rows_per_accepted(state) == 9 * 12 * 100 * 4 / result.sealed.counts["accepted"]
    json.dumps(state.as_json())


def test_sheet_shows_one_pair_per_triplet(tmp_path):
    import io

    from PIL import Image

    run, plan = start(tmp_path)
    manifest = finish(run, plan).sealed
    sheet = Image.open(io.BytesIO(contact_sheet(sealed_pairs(run, manifest), 4, columns=2)))
    assert sheet.width > sheet.height > 300


def test_readers_open_the_sealed_files_and_no_others(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    (tmp_path / "pairs" / "00000000-0123456789abcdef.parquet").write_bytes(b"left by a lost race")
    files = sealed_data_uris(run)
    assert len(files) == len(list((tmp_path / "pairs").iterdir())) - 1
    assert not any("0123456789abcdef" in file for file in files)


def test_kind_that_looks_like_markup_is_shown_as_it_is(tmp_path, capsys):
    store = LocalStore(str(tmp_path / "[a]run"))
    run = create_run(store, recipe())
    odd = [t.model_copy(update={"edit_kind": "[/red]\x1b[2J"}) for t in triplets(2)]
    plan = write_plan(run, odd, 2)
    finish(run, plan)
    print_status(status(run, plan))
    shown = capsys.readouterr().out
    assert "[/red]\\x1b[2J" in shown
    assert "[a]run" in shown
    assert "\x1b[2J" not in shown
