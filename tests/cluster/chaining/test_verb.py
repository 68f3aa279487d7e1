import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cluster import submit as submitting
from cluster.chaining import verb
from cluster.chaining.file import chain_of
from cluster.preflight import CheckedCommand
from editmill import app
from factory.errors import ConfigError
from schemas.running.cluster import Cluster

CHAIN = """
root: {root}
steps:
  pairs: generate --triplets miniature
  latents: encode --preset miniature --dataset ${{pairs}}
  whole: verify ${{pairs}}
"""

Looks = list[tuple[str, tuple[str, ...]]]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """What was looked at ahead, in place of looking: where it stands, and what it must not look at."""
    found: Looks = []

    def preflight(looks: Sequence[CheckedCommand]) -> None:
        for look in looks:
            found.append((f"{look.where.rpartition(': ')[2]}: {look.words[0]}", tuple(look.unseen)))
            if "refused" in look.words:
                raise ConfigError(f"{look.where}: --preset: must be another")

    monkeypatch.setattr(verb, "preflight", preflight)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "chain.yaml"
    path.write_text(CHAIN.format(root=tmp_path / "root"))
    return path


def chain(*words: object) -> Result:
    return CliRunner().invoke(app, ["chain", *map(str, words)])


def test_each_step_is_looked_at_without_what_earlier_ones_are_to_make(
    stub: Path, looks: Looks, file: Path, tmp_path: Path
) -> None:
    pairs, latents = f"{tmp_path}/root/pairs", f"{tmp_path}/root/latents"
    assert chain(file, "--dry-run").exit_code == 0
    assert looks == [
        ("steps.pairs: generate", ()),
        ("steps.latents: encode", (pairs,)),
        ("steps.whole: verify", (pairs, latents)),
    ]
    assert not (tmp_path / "root").exists()
    (stub / "codes.json").write_text('{"encode": [3]}')
    assert chain(file).exit_code == 3
    looks.clear()
    assert chain(file, "--dry-run").exit_code == 0
    # Pairs are there by now.
    assert looks == [("steps.latents: encode", ()), ("steps.whole: verify", (latents,))]
    looks.clear()
    assert chain(file, "--dry-run", "--again").exit_code == 0
    assert len(looks) == 3


def test_where_a_look_refuses_nothing_is_begun(
    stub: Path, looks: Looks, file: Path, tmp_path: Path
) -> None:
    file.write_text(CHAIN.format(root=tmp_path / "root").replace("miniature -", "refused -"))
    done = chain(file)
    assert done.exit_code == 2
    refusal = f"editmill: {file}:5: steps.latents: --preset: must be another\n"
    assert done.stderr.endswith(refusal)
    assert not (tmp_path / "root").exists()
    assert not (stub / "calls.jsonl").exists()
    assert chain(file, "--unchecked").exit_code == 0


def test_a_dry_run_says_what_would_run(
    stub: Path, looks: Looks, file: Path, tmp_path: Path
) -> None:
    (stub / "codes.json").write_text('{"encode": [3]}')
    chain(file)
    root = tmp_path / "root"
    assert json.loads(chain(file, "--dry-run", "--json").stdout) == {
        "root": str(root),
        "steps": [
            {
                "name": "pairs",
                "state": "is done",
                "command": f"editmill generate --triplets miniature --out {root}/pairs",
            },
            {
                "name": "latents",
                "state": "would run",
                "command": f"editmill encode --preset miniature --dataset {root}/pairs --out "
                f"{root}/latents",
            },
            {"name": "whole", "state": "would run", "command": f"editmill verify {root}/pairs"},
        ],
    }
    shown = chain(file, "--dry-run").stdout.splitlines()
    assert shown[1] == f"pairs: is done: editmill generate --triplets miniature --out {root}/pairs"


def test_a_machine_gets_one_object_and_the_steps_own_results_go_to_stderr(
    stub: Path, looks: Looks, file: Path, tmp_path: Path
) -> None:
    (stub / "codes.json").write_text('{"verify": [5]}')
    done = chain(file, "--json")
    assert done.exit_code == 5
    found = json.loads(done.stdout)
    assert (found["exit_code"], found["done"]) == (5, False)
    assert found["message"].startswith(f"{file}:6: steps.whole: ended with 5: something stored is")
    assert [step["state"] for step in found["steps"]] == ["done", "done", "ended"]
    assert "result of generate" in done.stderr


def test_by_its_root_a_chain_has_a_status_and_a_log_and_goes_on_without_its_file(
    stub: Path, looks: Looks, file: Path, tmp_path: Path
) -> None:
    (stub / "codes.json").write_text('{"encode": [3]}')
    chain(file)
    root = tmp_path / "root"
    file.unlink()
    found = json.loads(chain(root, "--status", "--json").stdout)
    assert [step["state"] for step in found["steps"]] == ["done", "ended", "waiting"]
    assert "ended with 3" in chain(root, "--status").stdout
    assert "encode begins" in chain(root, "--log").stdout.splitlines()
    assert chain(root).exit_code == 0
    calls = [json.loads(line)[0] for line in (stub / "calls.jsonl").read_text().splitlines()]
    assert calls == ["generate", "encode", "encode", "verify"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "FILE: must be given, got none"),
        (("none.yaml",), "none.yaml: cannot be read: No such file"),
        (("runs/none",), "must be the root of a chain that was begun, got none"),
    ],
)
def test_what_is_no_chain_is_refused(words: tuple[str, ...], message: str) -> None:
    done = chain(*words)
    assert (done.exit_code, message in done.stderr) == (2, True)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Cluster, list[str], bool]]:
    """What is submitted, in place of submitting it."""
    found: list[tuple[Cluster, list[str], bool]] = []

    def submit(cluster: Cluster, words: list[str], open_cluster: bool) -> int:
        found.append((cluster, words, open_cluster))
        print("a job's log")
        return 3

    monkeypatch.setattr(submitting, "submit", submit)
    return found


def test_on_a_cluster_it_is_one_job_and_ends_with_its_code(
    looks: Looks,
    file: Path,
    tmp_path: Path,
    sent: list[tuple[Cluster, list[str], bool]],
) -> None:
    place = tmp_path / "cluster.yaml"
    place.write_text("address: http://head:8265\n")
    done = chain(file, "--cluster", place)
    assert (done.exit_code, done.stdout) == (3, "a job's log\n")
    ((cluster, words, open_cluster),) = sent
    assert (cluster.address, open_cluster) == ("http://head:8265", False)
    assert words[:2] == ["chain", "--given"]
    steps = chain_of(words[2]).steps
    assert [step.name for step in steps] == ["pairs", "latents", "whole"]
    # No path of this machine means anything there.
    assert [unseen[0] for _, unseen in looks] == ["/"] * 3
    assert f"root {tmp_path}/root: must be a folder that all machines share" in done.stderr
    file.write_text(f"cluster: cluster.yaml\n{file.read_text()}")
    done = chain(file, "--json", "--open-cluster", "--again", "--unchecked")
    assert sent[-1][1][3:] == ["--again", "--unchecked"]
    assert sent[-1][2] is True
    found = json.loads(done.stdout)
    assert (found["exit_code"], found["steps"]) == (3, None)
    assert "a job's log" in done.stderr
    assert chain(file, "--cluster", "local").exit_code == 3
    assert (sent[-1][0].address, looks[-1][1][0]) == ("local", f"{tmp_path}/root/pairs")
