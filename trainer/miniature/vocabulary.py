"""The miniature's tokenizer: a small byte-pair vocabulary in CLIP's own file format."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from open_clip.tokenizer import bytes_to_unicode

from factory.miniature.world import COLOURS, SHAPES, SIZES

START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT_LENGTH = 16

_INSTRUCTION_WORDS = """
a add an as at background big bright change clear colour color dark day did edit fog foggy from in
into is it its light little make mist more night no now of off on paint picture put remove replace
scene set shape size sky swap the this to turn what were where with would
"""


def words() -> list[str]:
    """Every word that is one token: the world's captions and the words of instructions."""
    captions = [*COLOURS, *SHAPES, *SIZES]
    return sorted({*captions, *_INSTRUCTION_WORDS.split()})


def merges() -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first, learnt until each word is one token.

    Source: Sennrich et al. 2016 (arXiv:1508.07909), algorithm 1.
    """
    pieces = [(*word[:-1], word[-1] + "</w>") for word in words()]
    rules: list[tuple[str, str]] = []
    while any(len(word) > 1 for word in pieces):
        counts = Counter(pair for word in pieces for pair in pairwise(word))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        rules.append(best)
        pieces = [_merge(word, best) for word in pieces]
    return rules


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for piece in word:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return tuple(merged)


def vocabulary() -> dict[str, int]:
    """Token to id: bytes, bytes at a word's end, merged pieces, start, end (the highest, as CLIP's)."""
    symbols = bytes_to_unicode().values()
    tokens = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in merges()), START, END]
    unique = list(dict.fromkeys(tokens))
    return {token: i for i, token in enumerate(unique)}


def save_tokenizer(folder: Path) -> None:
    """Write a folder that `CLIPTokenizer.from_pretrained` loads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary(), ensure_ascii=False))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges())]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CONTEXT_LENGTH,
        **special,
        "do_lower_case": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
