"""The command `train-language`: fine-tune a language model that writes edits."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.console.command import resumable
from factory.console.config import LANGUAGE_PRESETS, Choice, choose_config, must_be_given
from factory.console.options import AsJson, ConfigFile, preset_option
from factory.console.progress import Progress
from factory.console.say import Opening, print_facts, print_json, say
from factory.console.signals import INTERRUPTED, Drain
from factory.errors import EditmillError
from factory.models.find import still_to_fetch
from factory.storage.places import check_folder
from factory.verbs.machine import check_machine
from schemas.training.language import TrainLanguage

language_app = typer.Typer(no_args_is_help=True)


@language_app.command("train-language")
@resumable
def train_language(
    lines: Annotated[Path, typer.Option(help="What `captions-prepare` wrote, of either form.")],
    out: Annotated[
        Path,
        typer.Option(
            help="The training: a folder that every worker sees; `model` in it is served."
        ),
    ],
    model: Annotated[
        Optional[str],
        typer.Option(
            help="A causal language model: a folder, s3://, or a hub id, whose commit --set "
            "law.model.revision= names."
        ),
    ] = None,
    preset: Annotated[
        Optional[str], preset_option("lora, full, or miniature (for trying).", LANGUAGE_PRESETS)
    ] = None,
    config: ConfigFile = None,
    settings: Annotated[
        Optional[list[str]],
        typer.Option(
            "--set",
            help="key=value, e.g. law.steps=100; repeatable; `config show --of train-language` lists all.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Fine-tune a causal language model to write edits of captions. Run it again to resume.

    `vllm serve OUT/model` or `transformers serve OUT/model` serves it for `captions`.
    """

    def unasked() -> tuple[str, str]:
        raise must_be_given("for a language model", LANGUAGE_PRESETS)

    given = {"--model": f"law.model.source={model}"} if model is not None else {}
    choice = choose_config(
        TrainLanguage,
        LANGUAGE_PRESETS,
        preset,
        config,
        settings or [],
        options=given,
        unasked=unasked,
    )
    chosen, opening = choice.config, Opening(headline(choice))
    for line in still_to_fetch([("law.model", chosen.law.model, "language")]):
        say(line)
    check_machine(chosen.compute)
    check_folder("--out", out)
    from trainer.language.train import prepare, train

    chosen = prepare(chosen, lines, out)
    opening.begin()
    with Progress("steps", chosen.law.steps):
        if chosen.compute.where == "ray":
            from trainer.on_ray.language import train_on_ray

            learned = train_on_ray(chosen, lines, out)
        else:
            with Drain() as drain:
                learned = train(chosen, lines, out, say=say, should_stop=lambda: drain.asked)
    code = 0 if learned.done else EditmillError.exit_code
    facts = {
        "step": f"{learned.step} of {chosen.law.steps}",
        "model": learned.model if learned.done else None,
        "lines": learned.lines,
        "too long": learned.too_long,
    }
    if as_json:
        print_json(facts | {"step": learned.step, "steps": chosen.law.steps, "exit_code": code})
    else:
        print_facts(facts)
    if code:
        say(INTERRUPTED)
    return code


def headline(choice: Choice[TrainLanguage]) -> str:
    """Where the configuration is from, the model, the steps."""
    law = choice.config.law
    lora = f", LoRA of rank {law.lora.rank}" if law.lora else ""
    return choice.line(f"{law.model.source}{lora}, {law.steps} steps of {law.batch} lines")
