"""How the tests are cut between the processes of `make test`, and how their Ray shares the cores."""

import gc
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from botocore.loaders import create_loader
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.environment import keep_no_logs, prefer_workers, verbs_made_once, write_into_memory
from tests.nursery import start

RAY = ("on_ray", "cluster")
"""Folders whose tests start a Ray; those of a folder run one after the other, for they share it."""
LONGEST = (
    *RAY,
    "tests/chaos/test_chaos.py",
    "tests/chaos/deaths/test_crash_points.py",
    "tests/trainer/test_fit_command.py",
)
"""What is begun first, so that nobody waits for it in the end."""

COLLECT_EVERY = (100_000, 50, 100)
"""Python's own collector looks at all of torch again and again, which takes 7 % of `make test`."""

gc.set_threshold(*COLLECT_EVERY)
prefer_workers()
keep_no_logs()


def pytest_configure(config: pytest.Config) -> None:
    # Of the slow ones some write models that memory has to hold as well.
    if config.option.markexpr != "slow":
        write_into_memory()
    start.announce()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        start.end()


class ByFile(LoadScopeScheduling):
    """A file's tests stay together, for what they share, and so do a folder's on Ray."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in RAY if folder in file.split("/")), file)

    def _assign_work_unit(self, node: WorkerController) -> None:
        """The longest first; xdist would begin with most tests."""
        for longest in reversed(LONGEST):
            if longest in self.workqueue:
                self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


def pytest_collection_finish(session: pytest.Session) -> None:
    rooms = {room for item in session.items for room in item.path.parts}
    if rooms & {*RAY, "chaos"}:
        start.begin()
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def one_command_line() -> Iterator[None]:
    with verbs_made_once():
        yield


@pytest.fixture(scope="session", autouse=True)
def what_boto3_knows() -> Iterator[None]:
    """Read once, where each client would parse a megabyte of JSON; hundreds are made here."""
    known = create_loader()
    with patch("botocore.session.create_loader", lambda path: known):
        yield
