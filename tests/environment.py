"""What the environment says, in these tests and in the processes that they start."""

import os

NICENESS = "RAY_worker_niceness"


def prefer_workers() -> None:
    """Ray starts its workers with a niceness of 15: beside other tests they would hardly ever run."""
    os.environ[NICENESS] = "0"


def keep_no_logs() -> None:
    """Of starts in tests, in the folder of whoever runs them."""
    os.environ["EDITMILL_LOG_DIR"] = ""


def without_ray() -> dict[str, str]:
    """As somebody has it who knows nothing of the Ray of these tests."""
    return {
        name: value
        for name, value in os.environ.items()
        if name == NICENESS or not name.startswith("RAY_")
    }
