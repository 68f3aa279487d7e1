"""From a candidate's name to its random draws; nothing here depends on worker, order or time.

Every draw comes from a sha256 with a purpose word of its own, so that adding a draw never shifts
another. The original chains its seeds, so that a worker repeats itself after some 80,000 draws.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def _digest(*parts: object) -> bytes:
    return hashlib.sha256("|".join(map(str, parts)).encode()).digest()


def candidate_seed(run_seed: int, triplet_id: str, index: int) -> int:
    """The root of a candidate's noise, 63 bits."""
    return int.from_bytes(_digest(run_seed, triplet_id, index, "noise")[:8], "big") >> 1


def uniform(
    run_seed: int, triplet_id: str, index: int, purpose: str, low: float, high: float
) -> float:
    """An even draw from [low, high) for one purpose (`p`, `guidance`) of one candidate."""
    digest = _digest(run_seed, triplet_id, index, purpose)
    share = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    return low + (high - low) * share


def generator(*parts: object) -> np.random.Generator:
    """Of all draws that these parts name.

    Philox keyed with 128 bits of the hash: torch's CPU generator uses only the low 32 bits of its
    seed, which some 80,000 candidates would already exhaust (birthday bound).
    """
    key = np.frombuffer(_digest(*parts)[:16], dtype="<u8")
    return np.random.Generator(np.random.Philox(key=key))


def noise(seed: int, purpose: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Normal noise of one candidate for one purpose (`start`, or a step's number)."""
    return generator(seed, purpose).standard_normal(shape, dtype=np.float32)
