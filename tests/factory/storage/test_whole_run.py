"""A published-dialect list through the command, list and run on each kind of store."""

import json
import secrets

import pytest
import yaml
from typer.testing import CliRunner

from factory.__main__ import app
from factory.console.config import PRESETS
from factory.storage.open import open_store
from tests.factory.engine.family import CAPTIONS, save_family
from tests.factory.engine.tiny import IMAGE_SIDE

PUBLISHED = "".join(
    json.dumps({"input": before, "edit": "change it", "output": after, "url": "https://x/1.jpg"})
    + "\r\n"
    for before, after in CAPTIONS
)


def command(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    folder = save_family(tmp_path_factory.mktemp("family"))
    recipe = {
        "text_to_image": {"source": str(folder / "text_to_image")},
        "clip": {"source": str(folder / "clip")},
        "steps": 2,
        "candidates": 3,
        "thresholds": {"image": -1.0, "text": -1.0, "direction": 0.0},
        "size_px": IMAGE_SIDE,
        "unit_triplets": 2,
    }
    assert (PRESETS / "miniature.yaml").exists()
    file = folder / "config.yaml"
    compute = {"where": "here", "threads": 1}
    file.write_text(yaml.safe_dump({"base": "miniature", "recipe": recipe, "compute": compute}))
    return file


@pytest.fixture(scope="module")
def hashes():
    return set()


@pytest.mark.long
def test_run_is_the_same_on_every_store(place, configuration, hashes, tmp_path):
    name = f"lists-{secrets.token_hex(4)}"
    if place.kind == "local":
        triplets = tmp_path / "published.jsonl"
        triplets.write_bytes(PUBLISHED.encode())
    else:
        open_store(f"{place.root}/{name}").put("published.jsonl", PUBLISHED.encode())
        triplets = f"{place.root}/{name}/published.jsonl"
    out = f"{place.root}/run-{secrets.token_hex(4)}"
    options = ("--config", configuration, "--json")
    made = command("generate", "--triplets", triplets, "--out", out, *options)
    assert made["committed_units"] == 2
    assert 0 < made["counts"]["accepted"] < 12
    assert not made["sealed"]["partial"]
    checked = command("verify", out, "--json")
    assert (checked["damages"], checked["pairs"]) == ([], made["counts"]["accepted"])
    again = command("generate", "--triplets", triplets, "--out", out, *options)
    assert again["sealed"] == made["sealed"]
    hashes.add(made["sealed"]["manifest_hash"])
    assert len(hashes) == 1
