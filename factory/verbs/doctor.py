"""The command `doctor`: before any money is spent, what could go wrong."""

import typer

from factory.console.command import command
from factory.console.options import (
    AsJson,
    ConfigFile,
    Gpus,
    MaxBad,
    Preset,
    Price,
    Settings,
    SomeOut,
    SomeTriplets,
)
from factory.console.say import say
from factory.verbs import machine
from factory.verbs.headline import headline
from factory.verbs.preset_choice import choose
from factory.verbs.results import print_findings

doctor_app = typer.Typer(no_args_is_help=True)


@doctor_app.command()
@command
def doctor(
    preset: Preset = None,
    config: ConfigFile = None,
    settings: Settings = None,
    triplets: SomeTriplets = None,
    max_bad: MaxBad = 0,
    out: SomeOut = None,
    gpus: Gpus = None,
    price_per_gpu_hour: Price = None,
    as_json: AsJson = False,
) -> int:
    """Before any money is spent: load all, probe the store, make one batch, say what a run costs."""
    from factory.doctor.examination import Order, examine

    choice = choose(preset, config, settings or [], triplets, out)
    order = Order(choice.config, triplets, max_bad, out, gpus, price_per_gpu_hour)
    say(headline(choice))
    return print_findings(
        examine(order, machine.device, machine.engine, say, machine.steps_of_other_sizes), as_json
    )
