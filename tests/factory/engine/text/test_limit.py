"""What a model's text encoder cuts, by its files and by its tokenizer."""

import pytest

from factory.engine.checkpoint.load import load_text_to_image
from factory.engine.text import limit as module
from factory.engine.text.limit import TextLimit
from factory.models.find import MINIATURE
from schemas.recipe import ModelSource
from tests.trainer.encoded import model
from trainer.learning.objective import NUMBERS


def limit_of(source):
    return TextLimit(ModelSource(source=source)).tokens


WORDS = [
    *(f"make it {'very ' * n}red" for n in range(0, 90, 3)),
    *("x" * n for n in range(1, 90, 7)),
    *("\u00e9" * n for n in range(1, 90, 7)),
    *("&amp;" * n for n in range(1, 90, 7)),
    "\U0001f408" * 30,
]


@pytest.mark.parametrize("source", [model, lambda: str(MINIATURE / "text_to_image")])
def test_what_is_cut_is_what_the_encoder_cuts(source):
    if str(MINIATURE) in source() and not MINIATURE.is_dir():
        pytest.skip("the miniature's weights are not here")
    named = ModelSource(source=source())
    text = load_text_to_image(named, None, NUMBERS["float32"]).text
    limit = TextLimit(named)
    assert limit.tokens == text.limit
    assert [limit.cuts(words) for words in WORDS] == [text.truncates(words) for words in WORDS]


def test_no_tokenizer_is_loaded_for_instructions_that_are_surely_short(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(module, "_load", loaded.append)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text('{"model_max_length": 12}')
    limit = TextLimit(ModelSource(source=str(tmp_path)))
    assert not limit.cuts("x" * 10)
    assert loaded == []
    with pytest.raises(AttributeError):
        limit.cuts("x" * 11)
    assert len(loaded) == 1


@pytest.mark.parametrize(
    ("tokenizer", "encoder", "limit"),
    [
        ('{"model_max_length": 20}', '{"max_position_embeddings": 16}', 16),
        ('{"model_max_length": 1e30}', '{"max_position_embeddings": 77}', 77),
        ("{}", "{}", 77),
        ("[", "null", 77),
        ('{"model_max_length": 1e999}', '{"max_position_embeddings": "x"}', 77),
    ],
)
def test_the_limit_is_the_least_that_a_models_files_say(tmp_path, tokenizer, encoder, limit):
    for name, content in (
        ("tokenizer/tokenizer_config.json", tokenizer),
        ("text_encoder/config.json", encoder),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content)
    assert limit_of(str(tmp_path)) == limit
