from pathlib import Path

import pytest

from cluster.chaining.file import chain_of, read_chain, text_of
from cluster.description import read_cluster
from factory.errors import ConfigError
from factory.storage.open import open_store
from tests.factory.storage.conftest import bucket_of, moto
from tests.servers.fixtures import S3Access

__all__ = ["moto"]

CHAINS = Path(__file__).parents[3] / "cluster" / "chains"


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read_chain(_file(tmp_path, text))
    assert refused.value.exit_code == 2
    return str(refused.value).replace(f"{tmp_path}/chain.yaml", "FILE")


STEPS = "root: s3://bucket/r\nsteps:\n"


def test_places_are_filled_in_and_out_lies_below_the_root_unless_given(tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text("address: local\n")
    chain = read_chain(
        _file(
            tmp_path,
            "root: s3://bucket/r\ncluster: here.yaml\nsteps:\n"
            "  pairs: generate --triplets s3://bucket/t.jsonl\n"
            "  edited: edit --images ${root}/photos --instruction 'make it red' --out s3://bucket/e\n"
            "  checked: verify ${edited}\n",
        )
    )
    assert chain.root == "s3://bucket/r"
    assert chain.cluster == str(tmp_path / "here.yaml")
    pairs, edited, checked = chain.steps
    assert pairs.words[-2:] == ("--out", "s3://bucket/r/pairs")
    assert pairs.out == "s3://bucket/r/pairs"
    assert edited.words[:5] == (
        "edit",
        "--images",
        "s3://bucket/r/photos",
        "--instruction",
        "make it red",
    )
    assert edited.out == "s3://bucket/e"
    assert (checked.words, checked.out) == (("verify", "s3://bucket/e"), None)
    assert chain.where(edited) == f"{tmp_path}/chain.yaml:5: steps.edited"


def _file(tmp_path: Path, text: str) -> str:
    file = tmp_path / "chain.yaml"
    file.write_text(text)
    return str(file)


def test_what_is_sent_to_a_cluster_is_the_same_chain(tmp_path: Path) -> None:
    chain = read_chain(
        _file(tmp_path, STEPS + "  p: generate --triplets t\n  l: encode --dataset ${p}\n")
    )
    sent = chain_of(text_of(chain))
    assert (sent.root, sent.steps) == (chain.root, chain.steps)
    with pytest.raises(ConfigError, match="--given: must be a chain as"):
        chain_of("{}")


def test_another_root_moves_every_place_below_it(tmp_path: Path) -> None:
    text = STEPS + "  p: generate --triplets t\n  l: encode --dataset ${p}\n"
    chain = read_chain(_file(tmp_path, text), str(tmp_path / "a b"))
    assert chain.root == f"{tmp_path}/a b"
    assert chain.steps[1].words == (
        "encode",
        "--dataset",
        f"{tmp_path}/a b/p",
        "--out",
        f"{tmp_path}/a b/l",
    )


def test_a_file_may_lie_in_a_bucket_where_a_cluster_finds_it(
    moto: S3Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto.export(monkeypatch)
    bucket = f"s3://{bucket_of(moto)}"
    open_store(bucket).put("chain.yaml", b"root: s3://bucket/r\nsteps:\n  a: plan --triplets x\n")
    file = f"{bucket}/chain.yaml"
    chain = read_chain(file)
    assert chain.where(chain.steps[0]) == f"{file}:3: steps.a"
    open_store(bucket).put(
        "sent.yaml", b"cluster: here.yaml\n" + open_store(bucket).get("chain.yaml")
    )
    open_store(bucket).put("here.yaml", b"address: http://head:8265\n")
    beside = read_chain(f"{bucket}/sent.yaml").cluster
    assert beside == f"{bucket}/here.yaml"
    assert read_cluster(beside).address == "http://head:8265"
    assert read_chain(f"{bucket}/sent.yaml", cluster="local").cluster == "local"
    open_store(bucket).put("bad.yaml", b"root: s3://bucket/r\nstep: {}\n")
    with pytest.raises(ConfigError, match=f"{bucket}/bad.yaml:2: unknown key 'step'"):
        read_chain(f"{bucket}/bad.yaml")


def test_a_steps_identity_is_its_words_and_those_of_the_steps_it_takes(tmp_path: Path) -> None:
    def identities(first: str) -> list[str]:
        text = f"  p: generate --triplets {first}\n  l: encode --dataset ${{p}}\n  o: plan --triplets x\n"
        return [s.identity_hash for s in read_chain(_file(tmp_path, STEPS + text)).steps]

    one, again, other = identities("a"), identities("a"), identities("b")
    assert one == again
    assert [a == b for a, b in zip(one, other, strict=True)] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("root: r\nstep: {a: b}\n", "FILE:2: unknown key 'step'; did you mean 'steps'?"),
        ("root: r\n", "FILE: steps: missing"),
        ("root: r\nsteps: {}\n", "FILE:2: steps: Dictionary should have at least 1 item"),
        ("root: gs://b/r\nsteps: {a: plan}\n", "FILE:1: root: store: expected s3://bucket/prefix"),
        ("root: s3://FILL-IN/r\nsteps: {a: plan}\n", "FILE:1: root: must be filled in, got s3://"),
        (
            "root: r\ncluster: no.yaml\nsteps: {a: plan}\n",
            "FILE:2: cluster: must be a cluster file beside this one or `local`, got 'no.yaml'",
        ),
        (STEPS + "  root: plan\n", "FILE:2: steps: root: a step's name must be letters"),
        (STEPS + "  A b: plan\n", "FILE:2: steps: A b: a step's name must be letters"),
        (
            STEPS + "  d: publish ${root}\n",
            "FILE:3: steps.d: must begin with a verb of this version, got 'publish'; there are: cali",
        ),
        (STEPS + "  d: submit local -- plan\n", "FILE:3: steps.d: must begin with a verb of this"),
        (STEPS + "  d: chain x.yaml\n", "FILE:3: steps.d: must begin with a verb of this version"),
        (STEPS + "  d: ''\n", "FILE:3: steps.d: must begin with a verb of this version, got ''"),
        (
            STEPS + "  d: generate --triplets x --steps 3\n",
            "FILE:3: steps.d: No such option: --steps",
        ),
        (STEPS + "  d: generate\n", "FILE:3: steps.d: Missing option '--triplets'"),
        (STEPS + "  d: generate --help\n", "FILE:3: steps.d: must be a command that runs, got one"),
        (
            STEPS + "  d: plan 'x\n",
            "FILE:3: steps.d: must be a command line, got one with No closing",
        ),
        (
            STEPS + "  l: encode --dataset ${p}\n  p: generate --triplets x\n",
            "FILE:3: steps.l: ${p} must name an earlier step with a place, or the root, got 'p'; there "
            "are: root",
        ),
        (
            STEPS + "  v: verify s3://bucket/x\n  p: verify ${v}\n",
            "FILE:4: steps.p: ${v} must name an earlier step with a place",
        ),
    ],
)
def test_a_refusal_names_the_line_and_the_rule(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text).startswith(message)


def test_a_secret_in_a_step_is_refused_and_not_repeated(tmp_path: Path) -> None:
    said = refusal(tmp_path, STEPS + "  a: plan --triplets https://me:hidden@host/x\n")
    assert said.startswith("FILE:3: steps.a: must hold no secret, got one by its look")
    assert "hidden" not in said


def test_the_shipped_chains_are_whole_once_they_are_filled_in(tmp_path: Path) -> None:
    names = sorted(path.stem for path in CHAINS.glob("*.yaml"))
    assert names == ["demo", "edit", "edit-miniature", "rebuild", "rebuild-miniature"]
    steps = {}
    for name in names:
        text = (CHAINS / f"{name}.yaml").read_text()
        assert ("FILL-IN" in text) == (name in ("edit", "rebuild"))
        steps[name] = read_chain(_file(tmp_path, text.replace("FILL-IN", "bucket"))).steps
    steps["demo-miniature"] = steps["rebuild-miniature"]
    # The miniature has no language model.
    steps["rebuild-miniature"] = (steps["rebuild"][0], *steps["rebuild-miniature"])
    for name in ("edit", "rebuild", "demo"):
        ours, small = steps[name], steps[f"{name}-miniature"]
        assert [s.name for s in ours] == [s.name for s in small]
        assert [s.words[0] for s in ours] == [s.words[0] for s in small]
    said = {step.name: step.words for step in steps["rebuild"]}
    # An editor is not judged on what it was trained on.
    assert "reading.held_out=0.05" in said["editor"]
    assert "recipe.held_out.held_out=0.05" in said["judged"]
    verbs = [step.words[0] for step in steps["rebuild"]]
    assert verbs == ["captions", "generate", "export", "encode", "fit", "evaluate"]
