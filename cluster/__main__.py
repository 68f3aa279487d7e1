"""The cluster's commands."""

from factory.console.signals import answer_signals

if __name__ == "__main__":
    # Before what follows, which takes a second: Ctrl-C is answered in words from here on.
    answer_signals()

import shlex
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cluster.chaining.verb import chain_app
from cluster.description import read_cluster
from cluster.forecast.verb import forecast_app
from cluster.jobs import jobs_app
from cluster.launching.verb import launching_app
from cluster.options import OpenCluster
from cluster.preflight import CheckedCommand, is_our_program, preflight, unseen_from_here
from factory.console.command import command
from factory.console.say import say
from factory.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run the other programs on a Ray cluster.",
)


class _SubmitCommand(TyperCommand):
    """Says what is wrong where a verb's options would be taken for its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {name for option in self.get_params(ctx) for name in option.opts}
        words = [i for i, word in enumerate(args) if not word.startswith("-")]
        strange = [word for word in args if word.startswith("-") and word not in own]
        if "--" not in args and len(words) > 1 and strange:
            right = shlex.join(["editmill", "submit", *args[: words[1]], "--", *args[words[1] :]])
            say(f"editmill: --: must stand before the verb and its options, got none; {right}")
            sys.exit(InputError.exit_code)
        return super().parse_args(ctx, args)


@app.command(cls=_SubmitCommand)
@command
def submit(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="The cluster file, or `local` for a try on this machine."
        ),
    ],
    verb: Annotated[
        list[str],
        typer.Argument(
            metavar="-- VERB ...", help="What to run there, e.g. -- generate --out s3://…"
        ),
    ],
    open_cluster: OpenCluster = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Submit without looking at the command here first.")
    ] = False,
) -> int:
    """Run a verb as a job on a Ray cluster: its log on stdout, its exit code as this one's."""
    cluster = read_cluster(file)
    from cluster.submit import check_words
    from cluster.submit import submit as run_there

    check_words(verb)
    if not unchecked and is_our_program(cluster):
        preflight([CheckedCommand(verb, verb[0], unseen_from_here(cluster))])
    return run_there(cluster, verb, open_cluster)


for verbs in (chain_app, launching_app, jobs_app, forecast_app):
    app.add_typer(verbs)


if __name__ == "__main__":
    # Mounted, as in editmill.py: a program with one command would swallow the verb, and the
    # callback that prevents it makes typer warn wherever the program is mounted without a name.
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.add_typer(app)
    program()
