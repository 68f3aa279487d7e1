"""The trainer's commands."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.console import command, say
from factory.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train the miniature's models.",
)


@app.command("train-miniature")
@command
def train_miniature(
    out: Annotated[Path, typer.Option(help="Where the finished folders are written.")],
    work: Annotated[
        Path, typer.Option(help="Resumable state, saved every 50 to 100 steps.")
    ] = Path("miniature-work"),
    stage: Annotated[
        Optional[list[str]],
        typer.Option(
            help="autoencoder, diffusion, clip or card; repeatable; default all, in order."
        ),
    ] = None,
    steps: Annotated[
        Optional[list[str]],
        typer.Option(help="stage=steps, e.g. diffusion=20000; repeatable."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Root of every draw.")] = 0,
) -> int:
    """Train the miniature from nothing, or go on where the state in --work stands."""
    import torch

    from trainer.miniature.train import STAGES, STEPS, train_miniature

    stages = tuple(stage or STAGES)
    for name in stages:
        if name not in STAGES:
            raise ConfigError(f"--stage: must be one of {', '.join(STAGES)}, got {name!r}")
    goals: dict[str, int] = {}
    for text in steps or []:
        name, _, number = text.partition("=")
        if name not in STEPS or not number.isdecimal() or int(number) < 1:
            raise ConfigError(f"--steps: must be stage=steps, got {text!r}")
        goals[name] = int(number)
    torch.set_num_threads(threads)
    train_miniature(work, out, stages=stages, steps=goals, seed=seed, report=say)
    return 0


if __name__ == "__main__":
    # Mounted, because a program with a single command would swallow its verb.
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.add_typer(app)
    program()
