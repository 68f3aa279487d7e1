"""What the tests of security share: a tiny family, an S3 emulator, a canary for pickles."""

import pytest
import yaml

from tests.factory.storage.conftest import moto, moto_bucket

__all__ = ["moto", "moto_bucket"]


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The tiny random family, to be copied or read."""
    # Here, so that the tests of images do without torch.
    from tests.factory.engine.family import save_family

    return save_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="session")
def configuration(saved, tmp_path_factory):
    """A file for commands that make pairs in this process."""
    from tests.factory.engine.tiny import IMAGE_SIDE

    recipe = {
        "text_to_image": {"source": str(saved / "text_to_image")},
        "clip": {"source": str(saved / "clip")},
        "steps": 1,
        "candidates": 2,
        "thresholds": {"image": -1.0, "text": -1.0, "direction": -1.0},
        "size_px": IMAGE_SIDE,
        "unit_triplets": 1,
    }
    file = tmp_path_factory.mktemp("config") / "c.yaml"
    compute = {"where": "here", "threads": 1, "device": "cpu"}
    file.write_text(yaml.safe_dump({"base": "miniature", "recipe": recipe, "compute": compute}))
    return file


@pytest.fixture
def canary(tmp_path):
    """The folder that a payload makes; none did where the test ends."""
    folder = tmp_path / "unpickled"
    yield folder
    assert not folder.exists(), "a planted pickle was unpickled"
