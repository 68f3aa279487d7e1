"""The command `forecast`."""

from typing import Annotated, Optional

import typer

from factory.console.command import command
from factory.console.options import AsJson, Price, RunUri
from factory.console.say import print_json
from factory.errors import ConfigError

forecast_app = typer.Typer(no_args_is_help=True)


@forecast_app.command()
@command
def forecast(
    run: RunUri,
    captions: Annotated[int, typer.Option(min=1, help="Triplets of the whole list.")],
    workers: Annotated[int, typer.Option(min=1, max=10_000, help="How many work, a GPU each.")] = 1,
    gpu: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="TYPE=PRICE[:SPEED]",
            help="A GPU to count on: an hour's price, and how many times the pilot's speed; repeatable.",
        ),
    ] = None,
    price_per_gpu_hour: Price = None,
    start_up: Annotated[
        float, typer.Option(min=0, help="Seconds until a new node makes units.")
    ] = 180.0,
    preempted_every: Annotated[
        Optional[float], typer.Option(min=0.001, help="Hours that a node lives on average.")
    ] = None,
    notice: Annotated[
        float, typer.Option(min=0, help="Seconds before its end a node is told.")
    ] = 120.0,
    pilot_workers: Annotated[
        Optional[int], typer.Option(min=1, help="How many workers made the pilot.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """What a whole list will take, from a pilot run of a random part of it. Writes nothing.

    Pairs by edit kind, units, GPU-hours, money, storage and time on so many workers, each with the interval
    in which it lies with a chance of 90 %.
    """
    from cluster.forecast.forecast import Gpu, Workforce
    from cluster.forecast.forecast import forecast as forecast_of
    from cluster.forecast.pilot import read_pilot
    from cluster.forecast.tables import print_forecast

    if gpu and price_per_gpu_hour is not None:
        raise ConfigError("--price-per-gpu-hour: must not be given with --gpu, got both")
    asked = [Gpu.read(text) for text in gpu or ()]
    every_s = None if preempted_every is None else preempted_every * 3600
    pilot = read_pilot(run, pilot_workers)
    pool = Workforce(workers, start_up, every_s, notice)
    found = forecast_of(pilot, captions, pool, asked or [Gpu(pilot.device, price_per_gpu_hour)])
    if as_json:
        print_json(found.as_json())
    else:
        print_forecast(found)
    return 0
