"""Pictures that look alike."""

import io
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from factory.pairs.cleaning.likeness import Fingerprints, alike, fingerprint

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def photograph(name):
    return Image.fromarray(getattr(data, name)()).convert("RGB")


def stored(picture, quality):
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=quality)
    return Image.open(sink)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_copy_in_another_size_or_quality_is_near_and_another_photograph_far(name):
    one = photograph(name)
    copies = [stored(one, 40), one.resize((one.width // 3, one.height // 3)), one.convert("L")]
    assert all(alike(fingerprint(copy), fingerprint(one), 4) for copy in copies)
    others = [photograph(other) for other in PHOTOGRAPHS if other != name]
    assert not any(alike(fingerprint(other), fingerprint(one), 16) for other in others)


@given(st.integers(0, 16), st.integers(0, 2**32))
def test_looking_up_finds_whoever_a_comparison_with_all_finds(near, seed):
    rng = random.Random(seed)
    held = [rng.getrandbits(64) for _ in range(30)]
    # Beside some, at every distance about the border.
    for one in held[:20]:
        bits = rng.sample(range(64), rng.randint(max(0, near - 2), near + 2))
        held.append(one ^ sum(1 << bit for bit in bits))
    prints = Fingerprints(near)
    for one in held:
        prints.add(one)
    for one in held:
        wanted = {
            n for n, other in enumerate(held) if np.bitwise_count(np.uint64(one ^ other)) <= near
        }
        found = list(prints.alike(one))
        assert set(found) == wanted
        assert len(found) == len(wanted)
