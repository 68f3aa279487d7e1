"""Which tokens of one prompt stand for which of another: the mappers of Prompt-to-Prompt.

Source: google/prompt-to-prompt, `seq_aligner.py` and `ptp_utils.py`. Prompts are told as everywhere here
(`told_text`), so that capitals and typographic marks do not count as changes.
"""

from typing import Any

import torch
from torch import Tensor

from factory.prompt_text import told_text

GAP, MATCH, MISMATCH = 0, 1, -1
"""Scores of an alignment of tokens."""


def words_of(prompt: str) -> list[str]:
    """Its words, parted by blanks."""
    return told_text(prompt).split(" ")


def replaces(source: str, target: str) -> bool:
    """Whether a prompt has as many words as another, so that `replaced` may be asked for."""
    return len(words_of(source)) == len(words_of(target))


def word_tokens(tokenizer: Any, prompt: str, word: int) -> list[int]:
    """Where the tokens of word number `word` stand, the start token counted; none where they are cut off.

    Tokens are given to words by their letters, as the original does.
    """
    words, found = words_of(prompt), []
    letters, at = 0, 0
    ids = tokenizer(told_text(prompt), truncation=True, max_length=_length(tokenizer)).input_ids
    for place, token in enumerate(ids[1:-1], start=1):
        letters += len(tokenizer.decode([token]).strip("#"))
        if at == word:
            found.append(place)
        if letters >= len(words[at]):
            at, letters = min(at + 1, len(words) - 1), 0
    return found


def replaced(tokenizer: Any, source: str, target: str) -> Tensor:
    """Float64 (source token, target token): the share that each source token's map has in a target token's.

    For prompts of as many words: a changed word takes the maps of the word in its place, which are divided
    among its tokens where their numbers differ; all others are their own. Behaviour matched, down to its
    tail: after the last changed word, tokens are not shifted where the numbers of tokens differ.
    """
    length = _length(tokenizer)
    pairs = zip(words_of(source), words_of(target), strict=True)
    changed = [number for number, (old, new) in enumerate(pairs) if old != new]
    spans = [
        (word_tokens(tokenizer, source, number), word_tokens(tokenizer, target, number))
        for number in changed
    ]
    spans = [(old, new) for old, new in spans if old and new]
    mapper = torch.zeros(length, length, dtype=torch.float64)
    old_at = new_at = 0
    for old, new in spans:
        while old_at < old[0] and new_at < length:
            mapper[old_at, new_at] = 1
            old_at, new_at = old_at + 1, new_at + 1
        if len(old) == len(new):
            mapper[old, new] = 1
        else:
            mapper[torch.tensor(old)[:, None], torch.tensor(new)] = 1 / len(new)
        old_at, new_at = old_at + len(old), new_at + len(new)
    tail = torch.arange(new_at, length - max(0, old_at - new_at))
    mapper[tail, tail] = 1
    return mapper


def refined(tokenizer: Any, source: str, target: str) -> tuple[Tensor, Tensor]:
    """Float64 (source token, target token) as `replaced`, and (target token,): 1 where a token is new.

    For prompts of any words: tokens are aligned (Needleman & Wunsch 1970; gap 0, match 1, mismatch -1), a
    target token takes its partner's map, a new one keeps its own. Padding takes the source's.
    """
    length = _length(tokenizer)
    old, new = (
        tokenizer(told_text(one), truncation=True, max_length=length).input_ids
        for one in (source, target)
    )
    partner = aligned(old, new)
    mapper, own = torch.zeros(length, length, dtype=torch.float64), torch.zeros(length).double()
    for place in range(length):
        of = partner[place] if place < len(partner) else place
        if of is None:
            own[place] = 1
        else:
            mapper[of, place] = 1
    return mapper, own


def aligned(old: list[int], new: list[int]) -> list[int | None]:
    """For each token of `new` the place of its partner in `old`, None where it has none.

    Of alignments that score alike, a gap in `old` comes before one in `new`, and that before a pair.
    """
    best = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    way = [[""] * (len(new) + 1) for _ in range(len(old) + 1)]
    way[0][1:] = ["left"] * len(new)
    for i, mine in enumerate(old, start=1):
        way[i][0] = "up"
        for j, theirs in enumerate(new, start=1):
            scores = {
                "left": best[i][j - 1] + GAP,
                "up": best[i - 1][j] + GAP,
                "pair": best[i - 1][j - 1] + (MATCH if mine == theirs else MISMATCH),
            }
            best[i][j] = max(scores.values())
            way[i][j] = next(name for name, score in scores.items() if score == best[i][j])
    partner: list[int | None] = [None] * len(new)
    i, j = len(old), len(new)
    while i or j:
        step = way[i][j]
        if step == "pair":
            partner[j - 1] = i - 1
        i -= step != "left"
        j -= step != "up"
    return partner


def _length(tokenizer: Any) -> int:
    return int(tokenizer.model_max_length)
