from transformers import CLIPTokenizer

from factory.miniature import world
from trainer.miniature.vocabulary import CONTEXT_LENGTH, save_tokenizer, vocabulary, words


def test_every_word_is_one_token_and_captions_fit(tmp_path):
    save_tokenizer(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    for word in words():
        assert tokenizer.tokenize(word) == [f"{word}</w>"]
    longest = max((world.caption(s) for s in world.all_scenes()), key=len)
    assert len(tokenizer(longest).input_ids) <= CONTEXT_LENGTH
    assert len(tokenizer) == len(vocabulary())


def test_any_text_has_tokens(tmp_path):
    save_tokenizer(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    assert tokenizer.unk_token_id not in tokenizer("zebra 7, über!").input_ids[1:-1]


def test_end_has_the_highest_id(tmp_path):
    # open_clip reads a text's features at the highest id.
    tokens = vocabulary()
    assert max(tokens.values()) == tokens["<|endoftext|>"]
