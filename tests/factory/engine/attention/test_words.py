"""Which token stands for which, beside slow mappers, and golden values of both kinds."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from factory.engine.attention.words import aligned, refined, replaced, replaces, word_tokens
from tests.factory.engine.attention.reference_controls import refinement, replacement, spans
from tests.factory.engine.tiny import tiny_parts

TOKENIZER = tiny_parts().tokenizer
WORDS = st.sampled_from(
    ["a", "large", "red", "circle", "on", "zebra", "of", "xy", "background", "oh"]
)


def fits(prompt):
    """Beyond the limit the original's code ends with an error."""
    return len(TOKENIZER(prompt).input_ids) <= TOKENIZER.model_max_length


@pytest.mark.parametrize("prompt", ["zebra zebra zebra zebra", "a red circle"])
def test_what_is_cut_off_is_nobodys_partner(prompt):
    """Mappers of prompts that are too long are as wide as any, and give no column more than is there."""
    long = "zebra zebra zebra zebra"
    assert not fits(long)
    for mapper in (refined(TOKENIZER, long, prompt)[0], refined(TOKENIZER, prompt, long)[0]):
        assert mapper.shape == (TOKENIZER.model_max_length,) * 2
        assert mapper.sum(0).max() <= 1
    swapped = long.replace("zebra", "circle", 1)
    assert replaced(TOKENIZER, long, swapped).shape == replaced(TOKENIZER, swapped, long).shape


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_replaced_is_the_slow_mapper(words):
    source, target = (" ".join(pair[side] for pair in words) for side in (0, 1))
    assume(fits(source) and fits(target))
    assert replaces(source, target)
    found = replaced(TOKENIZER, source, target)
    np.testing.assert_array_equal(found.numpy(), replacement(TOKENIZER, source, target))


@given(st.lists(WORDS, min_size=1, max_size=5), st.lists(WORDS, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_refined_is_the_slow_mapper(old, new):
    source, target = " ".join(old), " ".join(new)
    assume(fits(source) and fits(target))
    index, known = refinement(TOKENIZER, source, target)
    mapper, own = refined(TOKENIZER, source, target)
    expected = np.zeros((len(index), len(index)))
    expected[index, np.arange(len(index))] = known
    np.testing.assert_array_equal(mapper.numpy(), expected)
    np.testing.assert_array_equal(own.numpy(), 1 - known)
    assert spans(TOKENIZER, target)[0][0] == word_tokens(TOKENIZER, target, 0)[0] == 1


def test_a_word_of_other_length_shares_its_map_and_the_tail_is_not_shifted():
    # "red" is one token of the world's vocabulary, "zebra" is spelled.
    letters = len(word_tokens(TOKENIZER, "a zebra on", 1))
    assert letters > 1
    mapper = replaced(TOKENIZER, "a red on", "a zebra on")
    assert mapper[2, 2 : 2 + letters].tolist() == [1 / letters] * letters
    assert torch.equal(
        mapper[2 + letters :, 2 + letters :], torch.eye(len(mapper) - 2 - letters).double()
    )
    assert mapper[3].sum() == 0


def test_golden_alignment():
    # start a cat end; start a white cat end
    assert aligned([0, 5, 7, 1], [0, 5, 9, 7, 1]) == [0, 1, None, 2, 3]
    assert aligned([0, 5, 9, 7, 1], [0, 5, 7, 1]) == [0, 1, 3, 4]
    # A gap beside a gap, not a pair of two that differ.
    assert aligned([0, 5, 1], [0, 6, 1]) == [0, None, 2]


def test_capitals_are_no_change_and_a_word_past_the_limit_has_no_token():
    assert torch.equal(
        replaced(TOKENIZER, "A Red", "a red"), torch.eye(TOKENIZER.model_max_length).double()
    )
    assert word_tokens(TOKENIZER, "red " * 200, 150) == []
    assert not replaces("a red circle", "a circle")
    with pytest.raises(ValueError, match="zip"):
        replaced(TOKENIZER, "a b", "a")
