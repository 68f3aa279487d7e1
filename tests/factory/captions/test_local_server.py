"""The embedded language model behind `transformers serve`: from captions to triplets without a network."""

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.captions import local_server
from factory.captions.checks.instruction_rules import broken_rules
from factory.captions.prompts import Suggestion
from factory.console.config import CAPTION_PRESETS, read_config
from factory.miniature.world import parse_caption
from factory.pairs.triplets import read_triplets
from factory.verbs.demo.captions import written_triplets
from schemas.captions import Captions


def words_of(triplet):
    return Suggestion(triplet.edit_prompt, triplet.edited_prompt)


@pytest.mark.long
def test_captions_become_triplets_over_http_and_a_second_start_takes_those(tmp_path):
    found = written_triplets(tmp_path, 12)
    assert found.triplets
    for triplet in found.triplets:
        parse_caption(triplet.original_prompt)
        # How many are right is on the model's card; what is accepted has passed the rules.
        assert not broken_rules(triplet.original_prompt, words_of(triplet))
        assert triplet.edit_kind in read_config(Captions, CAPTION_PRESETS, "miniature").recipe.kinds
    (run,) = tmp_path.iterdir()
    assert [one.triplet_id for one in read_triplets(str(run)).triplets] == [
        one.triplet_id for one in written_triplets(tmp_path, 12).triplets
    ]


def test_where_nothing_can_serve_it_is_said_before_anything_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(local_server, "NEEDED", ("no_such_package",))
    words = ["demo", "--from", "captions", "--out", str(tmp_path / "demo")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "pip install 'editmill[serve]'" in result.stderr
    assert not (tmp_path / "demo").exists()
