"""The Dockerfile's steps in a bare Debian, where there is no builder of images and no GPU.

What stands in for Ray's GPU image: Debian 12 with Python 3.11, the user `ray` (1000:100) and a virtual
environment at the place of Ray's own. It takes minutes, some 8 GB, root's rights and the network.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster.dockerfile import Image, steps
from tests.cluster.shipped import ROOT, constrained, text_of

BASE = "python3-minimal,python3-venv,python3-pip,ca-certificates,libgomp1"
HOME = "/home/ray"
PYTHON = f"{HOME}/anaconda3"
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")

can_build = bool(shutil.which("debootstrap")) and os.geteuid() == 0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Ray's image, as far as the steps rely on it."""
    kept = os.environ.get("EDITMILL_IMAGE_ROOT")
    root = Path(kept) if kept else tmp_path_factory.mktemp("image")
    if not (root / "usr/bin/python3").exists():
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={BASE}", "bookworm", str(root)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    # What this machine needs to reach the registries, the new root needs, too.
    for name in ("etc/resolv.conf", str(CERTIFICATES)):
        shutil.copy(Path("/") / name, root / name)
    variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    variables |= {"HOME": HOME, "PATH": f"{PYTHON}/bin:/usr/sbin:/usr/bin:/bin"}
    image = Image(root, ROOT, "0:0", variables | {"PIP_CERT": f"/{CERTIFICATES}"})
    image.run(f"id ray || useradd --uid 1000 --gid 100 --create-home --home-dir {HOME} ray")
    image.user = "1000:100"
    image.run(f"python3 -m venv {PYTHON}", PATH="/usr/bin:/bin")
    for word, rest in steps(text_of("Dockerfile")):
        image.step(word, rest)
    return image


@pytest.mark.slow
@pytest.mark.skipif(not can_build, reason="needs debootstrap and root's rights")
def test_the_dockerfiles_steps_make_an_image_that_works(image: Image) -> None:
    # As pods run it, offline: the demo's job on Ray, as a user that is not root.
    assert image.user == "1000"
    assert image.variables["RAY_AUTH_MODE"] == "token"
    assert image.run("ray --version").strip() == f"ray, version {constrained('ray')}"
    installed = image.run("pip freeze")
    constraints = set((ROOT / "constraints.txt").read_text().lower().split())
    pinned = {line.lower() for line in installed.splitlines() if "==" in line}
    assert pinned - constraints == set(), "not by the constraints"
    assert image.run("pip check").strip() == "No broken requirements found."
    out = f"{HOME}/run"
    said = image.run(
        f"editmill generate --triplets miniature --out {out} --limit 4 --set compute.where=here",
        HF_HUB_OFFLINE="1",
    )
    assert "sealed" in said or (image.root / out.lstrip("/")).exists()
    assert image.run("python -m cluster.notice azure; test $? = 2")


def test_steps_are_read_as_a_builder_does() -> None:
    text = "# a comment\nFROM base\nRUN one \\\n    && two\n\n#~COPY x y\nUSER 1000\n"
    assert steps(text) == [("FROM", "base"), ("RUN", "one      && two"), ("USER", "1000")]
