"""How the tests are cut between the two processes of `make test`."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
RAY = ("on_ray", "cluster")
"""Folders whose tests start a Ray; one after the other, since each takes both cores."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, for what they share; those on Ray are one group."""
    for item in items:
        place = item.path.relative_to(ROOT)
        group = "ray" if set(RAY) & set(place.parts) else place.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
