"""One execution of Ray Data over a pool of resident workers: small rows in, small rows out."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.exceptions import ExecutionTimeoutError

from factory.on_ray.ray_internals import (
    READER,
    ask_for_whole_workers,
    claim_nodes_briefly,
    tell_of_readers_at_the_end,
)
from factory.on_ray.words import quieten_loggers

MOST_BLOCKS = 16_384
"""Blocks of unit numbers at most; a block is what Ray hands to a worker at once, so one unit each
keeps the pool busy to the end."""

READERS_S = 5.0
"""Longest wait for all of Ray Data's threads that fetch blocks."""


class StopAsked(ExecutionTimeoutError):
    """The job wants to stop; ends Ray Data's own loop, which shows a traceback of any other kind."""


def rows_of(
    units: Sequence[int],
    worker: type,
    made_with: Mapping[str, Any],
    held: Mapping[str, float],
    workers: tuple[int, int],
    look: Callable[[], bool],
    calls: int = 1,
) -> Iterator[dict[str, Any]]:
    """What workers say of units, in any order.

    `workers` are the fewest and the most, each called from as many threads as `calls` says. `look` is asked
    some ten times a second, also while no worker is there; the rows end with `StopAsked` once it says True.
    Raises Ray's errors.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    # A unit may take hours and a GPU may be long in coming; whoever looks says when to stop.
    context.execution_no_progress_timeout_s = -1
    # Every row leaves its worker at once, or guards and progress would wait for a whole block.
    context.target_max_block_size = 1
    context.custom_execution_callback_classes = [
        *context.custom_execution_callback_classes,
        _stopper(look),
    ]
    quieten_loggers()
    tell_of_readers_at_the_end()
    ask_for_whole_workers()
    claim_nodes_briefly()
    pool = ActorPoolStrategy(
        min_size=workers[0],
        max_size=workers[1],
        max_tasks_in_flight_per_actor=2 * calls,
        max_concurrent_calls_per_actor=calls,
        enable_true_multi_threading=calls > 1,
    )
    rows: list[dict[str, Any]] = [{"unit": unit} for unit in units]
    with DataContext.current(context):
        reports = (
            ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))
            .map_batches(
                worker, batch_size=1, **held, compute=pool, fn_constructor_kwargs=dict(made_with)
            )
            .iter_rows()
        )
    with _readers_ended():
        for report in reports:
            yield json.loads(report["row"])


@contextmanager
def _readers_ended() -> Iterator[None]:
    """On leaving, Ray Data's threads that were begun inside and fetched blocks have let go of them.

    They notice up to 0.1 s late that nobody reads any more. One that lets go of a block after
    `ray.shutdown` ends the process with 1, and no word of it.
    """
    before = set(threading.enumerate())
    try:
        yield
    finally:
        until = time.monotonic() + READERS_S
        for thread in set(threading.enumerate()) - before:
            if thread.name == READER:
                thread.join(max(0.0, until - time.monotonic()))


def _stopper(look: Callable[[], bool]) -> type:
    """A callback that Ray Data makes and asks in every round of its loop."""

    class Stopper:
        def before_execution_starts(self, executor: Any) -> None: ...

        def on_execution_step(self, executor: Any) -> None:
            if look():
                raise StopAsked

        def after_execution_succeeds(self, executor: Any) -> None: ...

        def after_execution_fails(self, executor: Any, error: Exception) -> None: ...

    return Stopper
