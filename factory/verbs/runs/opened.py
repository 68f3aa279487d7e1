"""A run that a command names: opened, with a hint where it lies a step further in or out."""

from factory.errors import RunMismatch
from factory.ledger.plan import Plan, find_plan
from factory.ledger.run import Run, open_run
from factory.storage.runs_near import runs_near


def open_named(uri: str, verb: str) -> Run:
    """Raises `RunMismatch`; where the run lies further in, or further out, it says so."""
    try:
        return open_run(uri)
    except RunMismatch as error:
        near = runs_near(uri)
        if not near:
            raise
        more = f" (and {len(near) - 1} more)" if len(near) > 1 else ""
        raise RunMismatch(f"{error}; did you mean `editmill {verb} {near[0]}`{more}?") from None


def open_planned(uri: str, verb: str) -> tuple[Run, Plan]:
    """A run and its plan. Raises `RunMismatch`."""
    run = open_named(uri, verb)
    plan = find_plan(run)
    if plan is None:
        raise RunMismatch(f"{uri}: no plan here; was `generate` started?")
    return run, plan
