"""The miniature's language model: a small causal model that learns the world's grammar.

A Llama of a million weights, with a vocabulary of its own. It learns both forms of `captions`: the chat,
whose id it must give back and whose kind of edit it must make, and the paper's completion. Captions that
`world.held_out_captions` names are in none of its lines.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.trainer_utils import set_seed

from factory.captions.prompts import chat_line, completion_line
from factory.miniature.world import (
    EDIT_KINDS,
    caption,
    edit,
    held_out_captions,
    instruction,
    parse_caption,
    sample,
)
from schemas.triplet import Triplet

ASK, ANSWER, END, FILL = "<|ask|>", "<|answer|>", "<|end|>", "<|fill|>"
TEMPLATE = (
    "{% set asked = messages | selectattr('role', 'equalto', 'user') | list | last %}"
    f"{{{{ '{ASK}' + asked['content'] + '{ANSWER}' }}}}"
    "{% if messages[-1]['role'] == 'assistant' %}"
    "{{ messages[-1]['content'] + eos_token }}{% endif %}"
)
"""A chat's last question and its answer; it was shown no more than that."""
PIECES = r'\d| ?"a(?= )| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\s+'
"""What is never joined with what. A caption's first article keeps its quotation mark: alone it would be
the same token as the `a` of an id, and what follows it could not be found again by it.
"""
VOCABULARY = 384
CONTEXT = 256
LINES = 120_000
"""Of a training of the model that ships."""


def language_lines(count: int, seed: int) -> Iterator[dict[str, object]]:
    """Training lines of both forms in turn, in OpenAI's form, each with an edit drawn anew."""
    rng = random.Random(seed)
    held_out = set(held_out_captions())
    number = 0
    while number < count:
        triplet = _drawn(rng)
        if triplet.original_prompt in held_out:
            continue
        if number % 2:
            yield dict(completion_line(triplet))
        else:
            yield chat_line(f"{rng.getrandbits(64):016x}", triplet)
        number += 1


def _drawn(rng: random.Random) -> Triplet:
    before, kind = sample(rng), rng.choice(EDIT_KINDS)
    after = edit(before, kind, rng)
    return Triplet(
        original_prompt=caption(before),
        edit_prompt=instruction(kind, before, after, rng),
        edited_prompt=caption(after),
        edit_kind=kind,
    )


def write_lines(file: Path, count: int = LINES, seed: int = 0) -> None:
    """A file for `train-language`."""
    with file.open("w") as stream:
        for line in language_lines(count, seed):
            stream.write(json.dumps(line) + "\n")


def save_untrained(folder: Path, seed: int = 0) -> None:
    """A model of random weights with its tokenizer, for `train-language` to begin with."""
    tokenizer = _tokenizer()
    set_seed(seed)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level pairs, learnt of the world's own words; digits stand alone, as those of ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    marks = [ASK, ANSWER, END, FILL]
    learner = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=marks,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = []
    for line in language_lines(4000, 1):
        if "messages" in line:
            messages = line["messages"]
            assert isinstance(messages, list)
            for message in messages[1:]:
                said = json.loads(message["content"]) | {"id": ""}
                texts.append(json.dumps(said))
        else:
            texts.append(f"{line['prompt']}{line['completion']}")
    tokenizer.train_from_iterator(texts, learner)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=FILL,
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
    )


def is_right(triplet: Triplet) -> bool:
    """Whether a triplet is one of the world's: one attribute changes, of the kind that is named, and the
    instruction asks for it.
    """
    try:
        before = parse_caption(triplet.original_prompt)
        after = parse_caption(triplet.edited_prompt)
    except ValueError:
        return False
    changed = [kind for kind in EDIT_KINDS if getattr(before, kind) != getattr(after, kind)]
    if len(changed) != 1 or triplet.edit_kind not in (None, *changed):
        return False
    asked = {instruction(changed[0], before, after, random.Random(way)) for way in range(16)}
    return triplet.edit_prompt in asked


def save_shipped(trained: Path, out: Path, facts: dict[str, object]) -> None:
    """A trained model in half precision, with a card of how it was made."""
    network = LlamaForCausalLM.from_pretrained(trained, dtype=torch.float16)
    network.save_pretrained(out)
    PreTrainedTokenizerFast.from_pretrained(trained).save_pretrained(out)
    (out / "card.json").write_text(json.dumps(facts, indent=1) + "\n")
