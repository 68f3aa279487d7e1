"""How a sample comes from noise: a solver a file, found by its name."""

from importlib import import_module
from types import ModuleType

from factory.engine.solvers.solver import Solver


def solver_of(name: str) -> Solver:
    """`SOLVER` of the module with this name. Raises `ValueError` where there is none."""
    try:
        module: ModuleType = import_module(f"{__name__}.{name}")
        found: Solver = module.SOLVER
    except (ImportError, AttributeError):
        raise ValueError(f"solver: no solver is called {name!r}") from None
    return found
