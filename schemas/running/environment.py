"""What may change the last bits of a result; recorded in each commit, never part of a recipe."""

from schemas.record import Record


class Environment(Record):
    """Of a worker with an engine."""

    device: str
    """Processor or GPU model."""
    wheels: dict[str, str]
    """Version of each package that computes."""
    batch_pairs: int
    """Pairs in one denoising batch; four rows each."""
    decode_pairs: int
    """Pairs in one decode and score batch."""
    threads: int
    """CPU threads per worker."""
    attention: str
    """Attention implementation."""


NOWHERE = Environment(
    device="none", wheels={}, batch_pairs=0, decode_pairs=0, threads=0, attention="none"
)
"""Of what was never made."""
