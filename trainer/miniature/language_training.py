"""The miniature's language model: trained from nothing by `train-language`'s own trainer, and judged."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.trainer_utils import set_seed

from factory.captions.prompts import Unusable, chat_line, read_reply
from factory.miniature.wilson import wilson
from factory.miniature.world import EDIT_KINDS, held_out_captions
from schemas.captions import CaptionRecipe
from schemas.recipe import ModelSource
from schemas.training.language import (
    LanguageLaw,
    LanguageWatching,
    LanguageWhere,
    TrainLanguage,
)
from schemas.triplet import Triplet
from trainer.language.train import prepare, train
from trainer.miniature.language import (
    CONTEXT,
    is_right,
    save_shipped,
    save_untrained,
    write_lines,
)

BATCH, LEARNING_RATE, WARM_UP = 32, 0.002, 200
EVERY = 100
"""Steps between checkpoints, and between what is said."""
TEMPERATURE = 0.7
"""Of replies that are judged; the preset's."""
ANSWER_TOKENS = 120
BAR = 0.95
"""Least share of right edits at which training is done."""
_CHAT = CaptionRecipe(model="miniature", form="chat")


def train_language_model(
    work: Path, out: Path, *, steps: int, lines: int, seed: int, report: Callable[[str], None]
) -> None:
    """Train it to its step count, resuming from `work`, and write it with its card to `out`.

    Raises `RunMismatch` where `work` holds a training of other steps, lines or seed.
    """
    begun, file = work / "language-start", work / f"language-{lines}.jsonl"
    if not begun.exists():
        half = work / "language-start.partial"
        shutil.rmtree(half, ignore_errors=True)
        save_untrained(half, seed)
        half.rename(begun)
    if not file.exists():
        half = file.with_suffix(".partial")
        write_lines(half, lines, seed)
        half.rename(file)
    config = TrainLanguage(
        law=LanguageLaw(
            seed=seed,
            model=ModelSource(source=str(begun)),
            tokens=CONTEXT,
            steps=steps,
            batch=BATCH,
            learning_rate=LEARNING_RATE,
            warm_up=WARM_UP,
        ),
        compute=LanguageWhere(
            where="here",
            device="cpu",
            gpus_per_worker=0,
            threads=torch.get_num_threads(),
            micro_batch=BATCH,
        ),
        watching=LanguageWatching(report_every=EVERY, checkpoint_every=EVERY),
    )
    config = prepare(config, file, work / "language")
    learned = train(config, file, work / "language", say=report)
    found = held_out_figures(Path(learned.model))
    law = config.law
    card: dict[str, object] = {
        "state": "trained" if found["right"] >= BAR * found["asked"] else "half-trained",
        "held_out": found,
        "bar": BAR,
        "training": {
            "lines": lines,
            **{name: getattr(law, name) for name in ("steps", "batch", "learning_rate", "warm_up")},
        },
        "data": "edits in both forms, drawn from factory/miniature/world.py; 200 captions held out by hash",
    }
    save_shipped(Path(learned.model), out, card)


def held_out_figures(folder: Path, seed: int = 0) -> dict[str, Any]:
    """How many held-out captions get a right edit of the kind that was asked for, by one reply each.

    A reply is well formed where `captions` can read it: one JSON object with the id that was given.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rng = random.Random(seed)
    set_seed(seed)
    well_formed = right = 0
    captions = held_out_captions()
    for number, caption in enumerate(captions):
        name, kind = f"{rng.getrandbits(64):016x}", EDIT_KINDS[number % len(EDIT_KINDS)]
        asked = Triplet(original_prompt=caption, edit_prompt="-", edited_prompt="-", edit_kind=kind)
        messages = chat_line(name, asked)["messages"][:-1]
        tokens = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
        said = network.generate(
            **tokens, max_new_tokens=ANSWER_TOKENS, do_sample=True, temperature=TEMPERATURE, top_k=0
        )
        text = tokenizer.decode(said[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True)
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        try:
            read = read_reply(_CHAT, name, {"choices": [choice]})
        except Unusable:
            continue
        well_formed += 1
        right += is_right(
            Triplet(
                original_prompt=caption,
                edit_prompt=read.edit_prompt,
                edited_prompt=read.edited_prompt,
                edit_kind=kind,
            )
        )
    interval = [round(bound, 4) for bound in wilson(right / len(captions), len(captions))]
    return {
        "asked": len(captions),
        "temperature": TEMPERATURE,
        "well_formed": well_formed,
        "right": right,
        "right_95": interval,
    }
