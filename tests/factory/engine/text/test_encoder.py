"""Tokens: of one prompt the generator, a training and the scorer read the same, CLIP's own."""

import itertools
from threading import Event, Thread

import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from transformers import CLIPTokenizer

from factory.engine.checkpoint.single_file import load_tokenizer
from factory.engine.text.encoder import TextEncoder, token_ids
from factory.engine.text.xl import TextEncoderXl
from factory.models.find import MINIATURE
from tests.factory.engine.tiny import tiny_parts

MARKS = (
    *("’", "‘", "“", "”", "„", "–", "—", "…", "«", "\u00a0", "\u2003", "\t", "\n", "\r\n"),
    *("&amp;", "&amp;amp;", "&lt;b&gt;", "&#39;", "&quot;", "&eacute;", "&", "<", "\x7f", "\u200b"),
    *("é", "e\u0301", "ﬁ", "ﬀ", "Ａ", "１", "ｶ", "ß", "İ", "ς", "Σ", "ΟΔΟΣ", "ǅ", "Ω", "Å", "½", "²"),
    *("Ã©", "â€™", "â€œ", "Â£", "🎨", "👩\u200d🎨", "日本", "ไทย", "नमस्ते", "عربي", "\ufeff", "\ufffd"),
)  # fmt: skip
PHRASES = (
    "turn it{}into a painting",
    "Make the dog{}s fur RED",
    "{}a photo, by day{}",
    "x {} 3/4'{}s",
    "{}: EDIT {}",
)
FINAL_SIGMA = "ΟΔΟΣ"
"""Its last small letter is another one at a word's end, which transformers' tokenizer does not know."""
TEXTS = [
    *(phrase.replace("{}", mark) for phrase, mark in itertools.product(PHRASES, MARKS)),
    *(f"{a}{b}c {b}{a}" for a, b in itertools.pairwise(MARKS)),
    *("", " ", "\n", "a", "don't", "it's the 1990s!!", "word " * 90, "’" * 90, "<|startoftext|"),
]


@pytest.fixture(scope="module", params=["OpenAI's", "the miniature's"])
def tokenizers(request):
    """Ours, the scorer's, and the token that ends a prompt."""
    if request.param == "OpenAI's":
        ours, theirs = load_tokenizer("sd-1"), SimpleTokenizer(context_length=77)
    else:
        ours = CLIPTokenizer.from_pretrained(MINIATURE / "text_to_image" / "tokenizer")
        theirs = open_clip.get_tokenizer(f"local-dir:{MINIATURE / 'clip'}")
    return ours, theirs, ours.eos_token_id


def until(end, ids):
    """A prompt's tokens without what it is padded with."""
    row = ids.tolist()
    return row[: row.index(end) + 1]


def test_the_generator_reads_the_tokens_that_the_scorer_reads(tokenizers):
    ours, theirs, end = tokenizers
    assert len(TEXTS) > 300
    different = [
        text
        for text in TEXTS
        if not (FINAL_SIGMA in text and isinstance(theirs, HFTokenizer))
        and until(end, token_ids(ours, text)[0]) != until(end, theirs([text])[0])
    ]
    assert not different


class Told(torch.nn.Module):
    """In an encoder's place: keeps what it is told."""

    device = torch.device("cpu")
    tokens = None

    def forward(self, tokens, **_):
        self.tokens = tokens
        raise StopIteration


@pytest.mark.parametrize("kind", ["one encoder", "two"])
def test_every_text_encoder_is_told_the_mended_prompt_and_counts_its_tokens(kind):
    tokenizer = load_tokenizer("sd-1")
    told = Told()
    text = TextEncoder(tokenizer, told)
    if kind == "two":
        text = TextEncoderXl((tokenizer, tokenizer), (told, Told()), zeros=True)
    seen = []
    for prompt in ("“Tom’s”&amp;co", '"tom\'s"&co'):
        with pytest.raises(StopIteration):
            text.words(prompt)
        seen.append(told.tokens)
    assert torch.equal(*seen)
    wide = "Ａ " * 75
    assert len(tokenizer(wide, truncation=False, verbose=False).input_ids) > 77
    assert not text.truncates(wide)


def test_two_threads_that_ask_of_one_tokenizer_do_not_disturb_each_other():
    """Steps cut and fill, decoding asks how long a prompt is: the tokenizer keeps either as its state."""
    parts = tiny_parts(dtype=torch.float32)
    text = TextEncoder(parts.tokenizer, parts.text_encoder, remembered=1)
    limit, prompts = text.limit, [f"a small red circle {number}" for number in range(400)]
    shapes, ended = set(), Event()

    def ask() -> None:
        while not ended.is_set():
            text.truncates("a large blue star")

    other = Thread(target=ask)
    other.start()
    try:
        with torch.inference_mode():
            shapes = {tuple(text.words(prompt).tokens.shape[:1]) for prompt in prompts}
    finally:
        ended.set()
        other.join()
    assert shapes == {(limit,)}
