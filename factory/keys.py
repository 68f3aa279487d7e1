"""Where things lie below a run's root."""

SEGMENT_UNITS = 4096
"""Consecutive units that share a folder of commits and a file of the plan."""

RUN = "RUN.json"


def segment(unit: int) -> str:
    """The segment of a unit."""
    return f"{unit // SEGMENT_UNITS:06d}"


def commit(unit: int) -> str:
    """The commit of a unit."""
    return f"commits/{segment(unit)}/{unit:08d}.parquet"


def unit_of_commit(key: str) -> int | None:
    """The unit of a commit's key; None for any other key."""
    name = key.rsplit("/", 1)[-1].removesuffix(".parquet")
    return int(name) if name.isdecimal() and commit(int(name)) == key else None


def pairs(unit: int, sha256: str) -> str:
    """The accepted pairs of a unit, by content."""
    return f"pairs/{unit:08d}-{sha256[:16]}.parquet"


def plan_head(sequence: int) -> str:
    """The head of a plan."""
    return f"plan/{sequence:06d}/plan.json"


def plan_part(sequence: int, segment_name: str, sha256: str) -> str:
    """The triplets of one segment of a plan, by content."""
    return f"plan/{sequence:06d}/{segment_name}-{sha256[:16]}.parquet"


def manifest(sequence: int) -> str:
    """A sealed manifest."""
    return f"manifest/{sequence:06d}.json"


def manifest_part(segment_name: str, sha256: str) -> str:
    """The unit lines of one segment, by content."""
    return f"manifest/parts/{segment_name}-{sha256[:16]}.parquet"
