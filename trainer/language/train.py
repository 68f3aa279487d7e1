"""Fine-tune a causal language model on lines, by transformers' own trainer, on one worker or many.

What is learned, resumed and stored is `transformers.Trainer`'s. Ours is which lines count, whose training a
folder holds, and how it is told to stop.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint, set_seed

from factory.console.progress import Reached
from factory.errors import ConfigError, InputError, ModelError, RunMismatch, first_line
from factory.models.find import model_folder
from factory.models.pin_source import pin_source
from schemas.recipe import ModelSource
from schemas.training.language import LanguageAdapter, LanguageRecord, TrainLanguage
from trainer.language.lines import UNLEARNED, TokenLine, read_lines
from trainer.learning.group import Group

RECORD = "LANGUAGE.json"
CHECKPOINTS = "checkpoints"
MODEL = "model"
"""What a server opens."""
NEEDED = ("config.json", "tokenizer_config.json")
ADAPTER = "lora"
"""A LoRA's own weights, beside the model that they are merged into."""


@dataclass(frozen=True)
class Learned:
    """How a start ended."""

    step: int
    """Optimiser steps done."""
    done: bool
    """Whether the model was written."""
    model: str
    """Where it lies, or will."""
    lines: int
    """That are learned from."""
    too_long: int
    """That were left out."""


def prepare(config: TrainLanguage, lines: Path, out: Path) -> TrainLanguage:
    """All that can be refused before weights load, lines included; then `out` holds this training.

    Returns the configuration with its model's files pinned. Raises `InputError`.
    """
    law, workers = config.law, config.compute.max_workers
    if law.batch % workers:
        raise ConfigError(
            f"law.batch: must be a multiple of compute.max_workers, got {law.batch} and {workers}"
        )
    if config.compute.min_workers != workers:
        raise ConfigError(
            "compute.min_workers: must be max_workers, as transformers' trainer has no fewer, got "
            f"{config.compute.min_workers} and {workers}"
        )
    if not lines.is_file():
        raise ConfigError(f"--lines: must be a file of JSON lines, got {lines}")
    _quieten()
    model = pin_source(law.model, "language", NEEDED, weights=lambda folder: None)
    law = law.model_copy(update={"model": model})
    read_lines(lines, _tokenizer(model), law.tokens)
    record = LanguageRecord(law=law, lines=hashlib.sha256(lines.read_bytes()).hexdigest())
    out.mkdir(parents=True, exist_ok=True)
    file = out / RECORD
    if file.exists():
        found = LanguageRecord.read(_json(file))
        # Of a pinned model not the place but the bytes count.
        if found.identity() != record.identity():
            what = "lines" if found.law.identity() == law.identity() else "law"
            raise RunMismatch(f"{out}: holds a training with another {what}; name another --out")
        return config.model_copy(update={"law": law})
    if any(out.iterdir()):
        raise ConfigError(
            f"--out: must be a new folder or a training's, got {out} with other files"
        )
    file.write_text(record.model_dump_json(indent=1))
    return config.model_copy(update={"law": law})


def train(
    config: TrainLanguage,
    lines: Path,
    out: Path,
    *,
    say: Callable[[str], None] = print,
    should_stop: Callable[[], bool] = lambda: False,
) -> Learned:
    """Train from the newest checkpoint in a begun folder, or from the start; write the model at the end.

    All workers of a group call it; the leader writes the model. Raises `InputError`.
    """
    law, group = config.law, Group()
    torch.set_num_threads(config.compute.threads)
    _quieten()
    tokenizer, model = _tokenizer(law.model), _network(law.model)
    found = read_lines(lines, tokenizer, law.tokens)
    if law.lora is not None:
        model = _with_adapter(model, law.lora, law.seed)
    trainer = Trainer(
        model=model,
        args=_arguments(config, out, group.size),
        train_dataset=_Lines(found.lines),
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=UNLEARNED),
        callbacks=[_Speaks(law.steps, say if group.leads else lambda line: None, should_stop)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    (out / CHECKPOINTS).mkdir(exist_ok=True)
    newest = get_last_checkpoint(str(out / CHECKPOINTS))
    if newest and group.leads:
        say(f"goes on from step {newest.rpartition('-')[2]}")
    trainer.train(resume_from_checkpoint=newest)
    step = trainer.state.global_step
    if step >= law.steps and group.leads:
        _write(trainer.accelerator.unwrap_model(trainer.model), tokenizer, out)
    return Learned(step, step >= law.steps, str(out / MODEL), len(found.lines), found.too_long)


def _quieten() -> None:
    """Its warnings and bars are no lines of ours."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _tokenizer(model: ModelSource) -> Any:
    tokenizer = _loaded(AutoTokenizer, model)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"law.model: its tokenizer must have a mark for the end, got none: {model.source}"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _network(model: ModelSource) -> Any:
    return _loaded(AutoModelForCausalLM, model, dtype=torch.float32, use_safetensors=True)


def _loaded(kind: Any, model: ModelSource, **options: object) -> Any:
    """Of files on this machine, whose configs ask for no code: they were pinned. Raises `ModelError`."""
    try:
        return kind.from_pretrained(model_folder(model, "language"), **options)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"law.model: must be a causal language model in transformers' format, got {model.source}: "
            f"{first_line(error)}"
        ) from None


def _with_adapter(model: Any, adapter: LanguageAdapter, seed: int) -> Any:
    from peft import LoraConfig, get_peft_model

    set_seed(seed)
    alpha = 2 * adapter.rank if adapter.alpha is None else adapter.alpha
    wanted = LoraConfig(
        r=adapter.rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return get_peft_model(model, wanted)


def _arguments(config: TrainLanguage, out: Path, workers: int) -> TrainingArguments:
    law, compute, watching = config.law, config.compute, config.watching
    each = law.batch // workers
    at_once = max(n for n in range(1, min(each, compute.micro_batch) + 1) if each % n == 0)
    return TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        max_steps=law.steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=each // at_once,
        learning_rate=law.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=law.warm_up,
        weight_decay=law.weight_decay,
        seed=law.seed,
        bf16=law.dtype == "bfloat16",
        use_cpu=compute.device == "cpu",
        logging_steps=watching.report_every,
        save_steps=watching.checkpoint_every,
        save_total_limit=watching.keep,
        report_to="none",
        disable_tqdm=True,
    )


def _write(model: Any, tokenizer: Any, out: Path) -> None:
    """In transformers' format; a LoRA is merged, and lies beside by itself."""
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(out / ADAPTER)
        model = model.merge_and_unload()
    model.save_pretrained(out / MODEL)
    tokenizer.save_pretrained(out / MODEL)


class _Lines(Dataset[dict[str, list[int]]]):
    """As the trainer takes them."""

    def __init__(self, lines: list[TokenLine]) -> None:
        self.lines = lines

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        line = self.lines[index]
        return {
            "input_ids": line.input_ids,
            "attention_mask": [1] * len(line.input_ids),
            "labels": line.labels,
        }


class _Speaks(TrainerCallback):
    """Says how far it is, and ends it with a checkpoint where that is asked."""

    def __init__(
        self, steps: int, say: Callable[[str], None], should_stop: Callable[[], bool]
    ) -> None:
        self.steps, self.say, self.should_stop = steps, say, should_stop

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            loss, rate = float(logs["loss"]), float(logs["learning_rate"])
            line = f"step {state.global_step}/{self.steps}  loss {loss:.4f}  rate {rate:.2g}"
            self.say(Reached.of(line, state.global_step, f"loss {loss:.4f}"))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.should_stop():
            control.should_save = control.should_training_stop = True


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError:
        raise InputError(f"{file}: must be a training's record, got other text") from None
