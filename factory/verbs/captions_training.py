"""The commands `captions-prepare` and `captions-finetune`: a language model of one's own for `captions`."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from factory.captions.tuning.lines import Form, write_lines
from factory.console.command import resumable
from factory.console.options import AsJson, MaxBad
from factory.console.say import print_facts, print_json, say
from factory.console.signals import INTERRUPTED, Drain
from factory.errors import EditmillError
from factory.pairs.triplets import read_triplets
from factory.storage.places import check_folder
from schemas.captions import Server, Tuning

training_app = typer.Typer(no_args_is_help=True)


@training_app.command("captions-prepare")
@resumable
def captions_prepare(
    triplets: Annotated[
        str,
        typer.Option(help="Triplets that are right: JSONL, CSV or Parquet, local or s3://."),
    ],
    out: Annotated[Path, typer.Option(help="The file of lines to be written.")],
    form: Annotated[
        Form,
        typer.Option(help="As `recipe.form` of `captions`: a chat, or the paper's completion."),
    ] = "chat",
    max_bad: MaxBad = 0,
    as_json: AsJson = False,
) -> int:
    """Write triplets as lines to fine-tune a language model on, for OpenAI or for `train-language`."""
    listed = read_triplets(triplets, max_bad)
    for bad in listed.bad:
        say(f"skipped: {bad}")
    write_lines(listed.triplets, form, out)
    facts = {"lines": len(listed.triplets), "form": form, "file": str(out)}
    (print_json if as_json else print_facts)(facts)
    return 0


@training_app.command("captions-finetune")
@resumable
def captions_finetune(
    lines: Annotated[Path, typer.Option(help="What `captions-prepare` wrote.")],
    out: Annotated[Path, typer.Option(help="A folder that keeps what the server was asked.")],
    model: Annotated[str, typer.Option(help="The model to tune, as its server calls it.")],
    suffix: Annotated[Optional[str], typer.Option(help="A word in the tuned model's name.")] = None,
    epochs: Annotated[
        Optional[int], typer.Option(min=1, help="Passes over the lines; unasked the server's own.")
    ] = None,
    base_url: Annotated[
        str, typer.Option(help="Of a server with OpenAI's fine-tuning API, to the `/v1`.")
    ] = Server().base_url,
    key_variable: Annotated[
        str, typer.Option(help="Name of the environment variable with its key.")
    ] = Server().key_variable,
    as_json: AsJson = False,
) -> int:
    """Fine-tune a server's model, and wait for it. Run it again to resume: nothing is paid for twice."""
    check_folder("--out", out)
    from factory.captions.tuning.finetune import fine_tune

    server = Server(base_url=base_url, key_variable=key_variable)
    with Drain() as drain:
        state = fine_tune(
            server,
            Tuning(model=model, suffix=suffix, epochs=epochs),
            lines,
            out,
            say=say,
            should_stop=lambda: drain.asked,
        )
    facts = {"model": state.tuned, "job": state.job_id, "file": state.file_id}
    (print_json if as_json else print_facts)(facts)
    if state.tuned is None:
        say(INTERRUPTED)
        return EditmillError.exit_code
    say(
        f"now `captions --model {state.tuned} --set recipe.few_shot=false`, in the form of its lines"
    )
    return 0
