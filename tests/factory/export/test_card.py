"""The card says what is in an export, how it was made, and how to make it again; Croissant is valid."""

import hashlib
import json
import logging

import pytest
from huggingface_hub import DatasetCard
from typer.testing import CliRunner

from factory.__main__ import app
from factory.export.counts import PairCounts
from factory.export.facts import licence_of, model_facts
from factory.ledger.manifest import manifest_hash, newest_manifest
from factory.ledger.run import open_run
from factory.pairs.sheet import sealed_pairs
from schemas.recipe import ModelSource
from tests.factory.export.runs import sealed_run, shared_run
from tests.stub_source import triplets


def exported(to, *options, run=None):
    done = CliRunner().invoke(app, ["export", run or shared_run(), "--to", str(to), *options])
    assert done.exit_code == 0, done.output
    return to


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    to = tmp_path_factory.mktemp("card") / "hf"
    return exported(
        to, "--title", "Cubes: and more", "--licence", "cc-by-4.0", "--price-per-gpu-hour", "3600"
    )


def text_of(export):
    return " ".join((export / "README.md").read_text().split())


def test_the_hub_reads_its_yaml(export):
    data = DatasetCard.load(export / "README.md").data
    assert data.license == "cc-by-4.0"
    assert data.pretty_name == "Cubes: and more"
    assert data.size_categories == "n<1K"
    (config,) = data.configs
    assert [one["split"] for one in config["data_files"]] == ["train", "validation", "test"]
    splits = {one["name"]: one["num_examples"] for one in data.dataset_info["splits"]}
    assert sum(splits.values()) == 48


def test_it_says_how_it_was_made(export):
    run = open_run(shared_run())
    text, recipe, manifest = text_of(export), run.recipe, newest_manifest(run)[1]
    counts = manifest.counts
    for said in (
        "# Cubes: and more",
        "48 before/after pairs",
        f"Of {sum(counts.values())} candidates {counts['accepted']} were accepted, "
        f"{counts['rejected']} rejected, {counts['failed']} could not be made",
        f"{sum(counts.values()) / counts['accepted']:.1f} candidates an accepted pair",
        f"Thresholds: image {recipe.thresholds.image}, text {recipe.thresholds.text}",
        f"the run's seed, {recipe.run_seed}",
        f"`{run.recipe_hash}`",
        f"`{manifest_hash(run, manifest)}`",
        "| text_to_image | `stub` | local files | not stated where it was read |",
        "at 3600.0 an hour",
        "Licence of this dataset: cc-by-4.0",
        "## Limits and biases",
        "editmill generate --config THIS-FOLDER/generate.yaml --triplets THIS-FOLDER --out again",
        'datasets.load_dataset("THIS-FOLDER")',
        "hours of workers (stub)",
    ):
        assert said in text
    assert "| colour | 16 |" in text


def test_its_samples_are_pairs_that_it_holds(export):
    pairs = list(sealed_pairs(open_run(shared_run()), newest_manifest(open_run(shared_run()))[1]))
    text = text_of(export)
    said = [pair for pair in pairs if f"seed {pair.seed}" in text]
    assert len(said) == 3
    assert all(f"**{pair.edit_prompt}**" in text for pair in said)
    assert (export / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_strangers_words_are_text_on_it(tmp_path):
    listed = [
        one.model_copy(
            update={
                "edit_prompt": f"<script>alert({number})</script>\n# Head",
                "edit_kind": "a|b\n---\n<b>",
            }
        )
        for number, one in enumerate(triplets(6))
    ]
    run = sealed_run(str(tmp_path / "run"), listed=listed)
    card = (exported(tmp_path / "to", run=run.uri) / "README.md").read_text()
    assert "<script>" not in card
    assert "&lt;script&gt;" in card
    assert "\n# Head" not in card
    assert "| a/b --- &lt;b&gt; |" in card


def test_distributions_are_those_of_the_pairs():
    run = open_run(shared_run())
    pairs = list(sealed_pairs(run, newest_manifest(run)[1]))
    import pyarrow as pa

    from factory.export.source import SCHEMA

    table = pa.Table.from_pylist([pair.model_dump() for pair in pairs], SCHEMA)
    seen, parts = PairCounts(), [PairCounts(), PairCounts()]
    list(seen.watched([table]))
    for part, rows in zip(parts, (table.slice(0, 20), table.slice(20)), strict=True):
        list(part.watched([rows]))
    both = PairCounts()
    for part in parts:
        both.add(json.loads(json.dumps(part.as_json())))
    for name in ("clip_sim_dir", "clip_sim_image", "p2p_threshold"):
        assert seen.bins[name].sum() == len(pairs)
        assert (seen.bins[name] == both.bins[name]).all()
        values = sorted(getattr(pair, name) for pair in pairs)
        median = seen.quantile(name, 0.5)
        assert median - 0.05 <= values[len(values) // 2 - 1] <= median + 0.05 + 1e-9
    assert (both.kinds, both.pairs) == (seen.kinds, len(pairs))


def test_licences_are_those_that_model_cards_state(tmp_path):
    assert licence_of(ModelSource(source="miniature/clip")) == "apache-2.0"
    assert licence_of(ModelSource(source=str(tmp_path))) is None
    (tmp_path / "README.md").write_text("---\nlicense: creativeml-openrail-m\n---\n# A model\n")
    told = model_facts("clip", ModelSource(source=str(tmp_path), files={"a": "0" * 64}))
    assert told["licence"] == "creativeml-openrail-m"
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"")
    assert licence_of(ModelSource(source=str(weights))) == "creativeml-openrail-m"
    (tmp_path / "README.md").write_text("---\nlicense: [broken\n---\n")
    assert licence_of(ModelSource(source=str(tmp_path))) is None


@pytest.mark.parametrize("form", ["hf", "webdataset", "ip2p", "imagefolder"])
def test_croissant_is_valid_and_names_every_file_by_its_hash(form, tmp_path, caplog):
    import mlcroissant

    to = exported(tmp_path / form, "--format", form)
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(jsonld=str(to / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert (issues.errors, issues.warnings) == (set(), set())
    assert str(dataset.metadata.ctx.conforms_to.value).endswith("/croissant/1.1")
    assert dataset.metadata.data_biases
    assert dataset.metadata.data_limitations
    assert dataset.metadata.data_collection
    told = json.loads((to / "croissant.json").read_text())["distribution"]
    hashes = {one["contentUrl"]: one["sha256"] for one in told if one["@type"] == "cr:FileObject"}
    laid_out = {"README.md", "croissant.json", "generate.yaml", "seeds.json"}
    there = {
        path.relative_to(to).as_posix()
        for path in to.rglob("*")
        if path.is_file()
        and not path.relative_to(to).as_posix().startswith(("_editmill", ".", "wids-"))
    }
    assert hashes.keys() == there - laid_out
    for name, sha256 in hashes.items():
        assert hashlib.sha256((to / name).read_bytes()).hexdigest() == sha256


def test_croissant_gives_the_pairs_with_their_splits(export):
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=str(export / "croissant.json"))
    rows = list(dataset.records("pairs"))
    run = open_run(shared_run())
    assert {(row["pairs/triplet_id"].decode(), row["pairs/index"]) for row in rows} == {
        (pair.triplet_id, pair.index) for pair in sealed_pairs(run, newest_manifest(run)[1])
    }
    assert {row["pairs/split"].decode() for row in rows} == {"train", "validation", "test"}
