"""What a person gets who installs the wheel and has no checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import typer
from PIL import Image

from editmill import app

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "factory", "trainer", "cluster")
MODULES = ("editmill.py",)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked(*paths: str) -> set[str]:
    """Files of the checkout below these, as git knows them and as they lie there now."""
    run = ["git", "ls-files", "-z", *paths]
    listed = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


def promised() -> set[str]:
    """Every file of the packages but their pages for developers."""
    return {name for name in tracked(*PACKAGES, *MODULES) if not name.endswith(".md")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built in a copy: setuptools also packs what an earlier build left in the checkout's `build/`."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked():
        copied = folder / "checkout" / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copied)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*build, folder / "checkout"], check=True)
    (built,) = folder.glob("*.whl")
    shutil.rmtree(folder / "checkout")
    return built


class Installed:
    """An environment outside the checkout that holds nothing but the wheel.

    It borrows this one's dependencies, since torch alone would be gigabytes: a path in a `.pth` file
    is searched after the environment's own, and the hooks of an editable install there are not run.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.bin = folder / "environment" / "bin"
        self.home = folder / "home"
        self.home.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.bin.parent], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site = self.bin.parent / "lib" / version / "site-packages"
        pip = [sys.executable, "-m", "pip", "--python", self.bin / "python", "install", "--quiet"]
        # Before it sees our packages, among which pip would find an editmill already.
        subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
        lent = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
        (self.site / "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(lent)))

    def run(self, program: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """In `folder`, told nothing by the environment of these tests but Ray's niceness."""
        kept = {name: os.environ[name] for name in ("RAY_worker_niceness",) if name in os.environ}
        said = {"HOME": str(self.home), "PATH": f"{self.bin}:/usr/bin:/bin", "LANG": "C.UTF-8"}
        done = subprocess.run(
            [self.bin / program, *words],
            cwd=folder,
            env=kept | said,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"), wheel)


@pytest.mark.long
def test_the_wheel_holds_every_file_of_its_packages_and_no_other(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in packed if ".dist-info/" not in name} == promised()
    (about,) = {name.partition("/")[0] for name in packed if ".dist-info/" in name}
    assert f"{about}/licenses/LICENSE" in packed


WHERE = """
import importlib.metadata, importlib.util, json, sys
found = {name: importlib.util.find_spec(name).origin for name in sys.argv[1:]}
found["dist-info"] = str(importlib.metadata.distribution("editmill").locate_file("."))
print(json.dumps(found))
"""


@pytest.mark.long
def test_all_code_comes_from_the_environment_and_none_from_the_checkout(installed, tmp_path):
    """Or the other tests here would not tell what is in the wheel."""
    names = [*PACKAGES, "editmill", "trainer.on_ray.fit", "factory.on_ray.units"]
    found = json.loads(installed.run("python", "-c", WHERE, *names, folder=tmp_path).stdout)
    assert found.keys() == {*names, "dist-info"}
    outside = {
        name: path
        for name, path in found.items()
        if not Path(path).resolve().is_relative_to(installed.site.resolve())
    }
    assert not outside


@pytest.mark.long
def test_presets_weights_and_all_that_is_no_code_are_installed_byte_by_byte(installed):
    data = {name for name in promised() if not name.endswith(".py")}
    assert {f"{package}/py.typed" for package in PACKAGES} < data
    assert "factory/presets/paper.yaml" in data
    assert "factory/miniature/weights/editor/unet/diffusion_pytorch_model.safetensors" in data
    other = {
        name
        for name in data
        if not (installed.site / name).is_file()
        or (installed.site / name).read_bytes() != (ROOT / name).read_bytes()
    }
    assert not other


@pytest.mark.long
def test_the_command_says_its_version_and_its_verbs(installed, tmp_path):
    version = installed.run("editmill", "--version", folder=tmp_path)
    assert version.stdout == f"editmill {PROJECT['project']['version']}\n"
    shown = installed.run("editmill", "--help", folder=tmp_path).stdout.split()
    verbs = typer.main.get_command(app).commands.keys()
    assert {"generate", "fit", "edit", "submit", "demo"} < verbs
    assert verbs <= set(shown)


@pytest.mark.long
def test_the_command_runs_the_demo_outside_the_checkout(installed, tmp_path):
    """The console script itself, from an empty folder: on Ray, whose workers import the wheel too.

    Of four triplets, since nothing that is made of fewer passes the gates, and that would end with 4.
    """
    installed.run("editmill", "demo", "--limit", "4", "--out", "shown", folder=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"shown"}
    (sheet,) = (tmp_path / "shown").glob("sheet-*.png")
    with Image.open(sheet) as picture:
        assert len(picture.convert("RGB").getcolors(picture.width * picture.height)) > 100
    (pairs,) = (tmp_path / "shown").glob("run-*/pairs")
    assert list(pairs.glob("*.parquet"))


def test_every_package_says_that_it_is_typed():
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
        assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"][package]
