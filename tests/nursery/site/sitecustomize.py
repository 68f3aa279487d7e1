"""What each Python of the tests runs first: whether a process that has all imported can take its place."""

import os
import sys

if os.environ.get("EDITMILL_NURSERY") and any(
    word.endswith("/_private/workers/default_worker.py") for word in sys.orig_argv[1:3]
):
    import borne

    borne.hand_over()
