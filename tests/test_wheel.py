"""What a person gets who installs the wheel and has no checkout."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "factory", "trainer", "cluster")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*build, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.long
def test_the_wheel_holds_every_file_of_its_packages(wheel):
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    missing = set(listed) - set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in missing if not name.endswith(".md")} == set()


@pytest.mark.long
def test_the_wheel_runs_the_demo_outside_the_checkout(wheel, tmp_path):
    """In an environment that holds nothing but the wheel, and borrows this one's dependencies."""
    home = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = home / "lib" / version / "site-packages"
    # A path in a .pth file joins the environment's own; the hooks of an editable install do not.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site]
    subprocess.run([*install, wheel], check=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    code = "import sys; from editmill import app; import factory; print(factory.__file__); app()"
    demo = subprocess.run(
        [home / "bin" / "python", "-c", code, "demo", "--limit", "4", "--out", "shown"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert demo.returncode == 0, demo.stderr
    assert Path(demo.stdout.splitlines()[0]).is_relative_to(site)
    assert list((tmp_path / "shown").glob("sheet-*.png"))


def test_every_package_says_that_it_is_typed():
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
        assert "py.typed" in shipped["package-data"][package]
