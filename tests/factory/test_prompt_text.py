"""What a text encoder is told of a prompt, held against CLIP's own cleaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip.tokenizer import basic_clean, whitespace_clean

from factory.prompt_text import fixed_text, told_text

SAME = [
    ("a cat", " A\u3000 Cat\n"),
    ("it's a cat", "it’s a cat"),
    ("cat & dog", "cat &amp;amp; dog"),
    ("café", "cafe\u0301"),
    ("café", "cafÃ©"),
    ("a fig", "a ﬁg"),
    ("a cat", "ａ ｃａｔ"),
    ('"a" cat', "“a” cat"),
    ("a <b>", "a &lt;b&gt;"),
]


@pytest.mark.parametrize(("plain", "other"), SAME)
def test_prompts_that_the_encoder_cannot_tell_apart_have_one_text(plain, other):
    assert told_text(plain) == told_text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a cat", "a cats"), ("a-cat", "a cat"), ("a cat", "a cat."), ("1 cat", "2 cat")],
)
def test_prompts_that_differ_for_the_encoder_stay_two(one, other):
    assert told_text(one) != told_text(other)


@given(st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from([b for _, b in SAME]))
def test_text_is_mended_as_clips_tokenizer_mends_it(text):
    assert fixed_text(text) == whitespace_clean(basic_clean(text))


def test_capitals_stay_where_only_the_text_is_mended():
    assert fixed_text(" A  Cat&#39;s “hat” ") == 'A Cat\'s "hat"'
