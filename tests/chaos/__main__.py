"""The chaos runner; see `run.py`."""

import os
import secrets
import sys

# Ray reads these once, when it is imported: the clusters started here let nobody else in, and
# listen on 127.0.0.1, which Ray would turn into this machine's address.
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Beside other work, workers as nice as Ray has them take minutes to load.
    "RAY_worker_niceness": "0",
}

from tests.chaos.run import main  # noqa: E402

sys.exit(main())
