"""What words of a model may become a triplet at all.

Source: the released `generate_txt_dataset.py` keeps a reply whose captions differ beyond blanks, capitals
and `.!?` at their ends, and which moderation does not flag. Length, letters, links, loops and copied
examples are ours: text encoders cut long captions, and models fall into each of the others.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection

from factory.captions.prompts import Suggestion
from factory.prompt_text import told_text
from schemas.captions import Limits

UNCHANGED, TOO_LONG, LETTERS = "unchanged", "too_long", "letters"
LINK, LOOP, COPIED = "link", "loop", "copied"
LOOP_WORDS, LOOP_TIMES = 3, 4
"""So many words in a row that come so often are a model going round."""
_LINK = re.compile(r"https?://|www\.|</?[a-z][^>]*>|[{}\\]|\[[^\]]*\]\(", re.IGNORECASE)
_WORD = re.compile(r"\w+|[^\w\s]")
_FORBIDDEN = frozenset({"Cc", "Cf", "Co", "Cn", "Cs"})
"""Unicode categories: control, format (marks of direction among them), private, unassigned, surrogates."""
_JOINERS = "\u200c\u200d"
"""Of the format marks, those that words of some scripts are written with."""


def faults(
    caption: str, words: Suggestion, limits: Limits, examples: Collection[Suggestion]
) -> list[str]:
    """Why an instruction and its edited caption are no triplet with this caption; none where they are."""
    texts = (words.edit_prompt, words.edited_prompt)
    checks = {
        UNCHANGED: _bare(caption) == _bare(words.edited_prompt),
        TOO_LONG: (
            len(words.edit_prompt) > limits.instruction_letters
            or max(len(caption), len(words.edited_prompt)) > limits.caption_letters
            or max(map(least_tokens, (caption, words.edited_prompt))) > limits.tokens
        ),
        LETTERS: any(not _is_plain(letter) for text in texts for letter in text),
        LINK: any(_LINK.search(text) for text in texts),
        LOOP: any(map(_goes_round, texts)),
        COPIED: words in examples,
    }
    return [name for name, is_so in checks.items() if is_so]


def least_tokens(text: str) -> int:
    """No fewer does CLIP's tokenizer find: each word and mark is one at least."""
    return len(_WORD.findall(told_text(text)))


def _bare(text: str) -> str:
    return told_text(text).strip().strip(".!?").strip()


def _is_plain(letter: str) -> bool:
    return letter in _JOINERS or unicodedata.category(letter) not in _FORBIDDEN


def _goes_round(text: str) -> bool:
    words = text.lower().split()
    runs = zip(*(words[start:] for start in range(LOOP_WORDS)), strict=False)
    return max(Counter(runs).values(), default=0) >= LOOP_TIMES
