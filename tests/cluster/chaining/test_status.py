import pytest

from cluster.chaining.record import ChainRecord
from cluster.chaining.status import chain_status, facts, rows
from factory.errors import RunMismatch
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.storage.open import open_store
from schemas.ledger.stamped import to_stamped_json
from schemas.running.chain import ChainStep
from schemas.training.root import TrainingRecord
from tests.stub_source import recipe, triplets


def step(name: str, out: object = None) -> ChainStep:
    return ChainStep(
        name=name,
        words=("generate", "--out", str(out)),
        out=out and str(out),
        identity_hash=f"{name:0<64}",
    )


def test_a_chain_that_was_never_begun_has_no_status(tmp_path):
    with pytest.raises(RunMismatch, match="must be the root of a chain that was begun, got none"):
        chain_status(str(tmp_path))


def test_one_table_over_its_steps_is_read_from_the_root_alone(tmp_path):
    root = tmp_path / "root"
    pairs, editor = root / "pairs", root / "editor"
    steps = (step("pairs", pairs), step("editor", editor), step("last"))
    record = ChainRecord(open_store(str(root)))
    assert record.begin(steps) == 0
    found = chain_status(str(root))
    assert [s.state for s in found.steps] == ["open", "waiting", "waiting"]
    assert (found.last_word_s, found.is_done) == (None, False)

    write_plan(create_run(open_store(str(pairs)), recipe()), triplets(6), 2)
    record.add_to_log(0, 0, b"a word\n")
    first = chain_status(str(root)).steps[0]
    assert (first.state, first.words) == ("running", "0 of 3 units")

    record.end(steps[0], 0, 61.0, 0)
    store = open_store(str(editor))
    law = {"steps": 300}
    store.put("FIT.json", to_stamped_json(TrainingRecord(law=law, law_hash="l", dataset="d")))
    store.put("checkpoints/000000100.json", b"{}")
    record.end(steps[1], 4, 5.0, 0)
    found = chain_status(str(root))
    assert rows(found) == [
        ("pairs", "generate", "done", "0 of 3 units", "1 min 1 s"),
        ("editor", "generate", "ended with 4", "100 of 300 steps", "5 s"),
        ("last", "generate", "waiting", "", "-"),
    ]
    assert facts(found)["start"].startswith("1, begun 20")

    assert record.begin(steps) == 1
    found = chain_status(str(root))
    assert [s.state for s in found.steps] == ["done", "open", "waiting"]
    for one in steps[1:]:
        record.end(one, 0, 1.0, 1)
    assert chain_status(str(root)).as_json()["done"] is True


def test_two_starts_at_once_have_numbers_of_their_own(tmp_path):
    record = ChainRecord(open_store(str(tmp_path)))
    assert [record.begin((step("a"),)), record.begin((step("b"),))] == [0, 1]
    assert record.start(1).steps[0].name == "b"
