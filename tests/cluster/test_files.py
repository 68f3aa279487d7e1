import re
import tomllib

import pytest

from schemas.running.cluster import SECRET_VALUE
from tests.cluster.shipped import CLUSTER, ROOT, constrained, text_of

FILL_IN = sorted(
    path.relative_to(CLUSTER).as_posix()
    for pattern in ("Dockerfile", "kuberay/*", "launchers/*", "skypilot/*", "slurm/*")
    for path in CLUSTER.glob(pattern)
)


def test_the_files_to_fill_in_are_these() -> None:
    assert FILL_IN == [
        "Dockerfile",
        "kuberay/raycluster.yaml",
        "kuberay/rayjob.yaml",
        "launchers/aws.yaml",
        "launchers/gcp.yaml",
        "skypilot/editmill.yaml",
        "slurm/editmill.sbatch",
    ]


@pytest.mark.parametrize("name", FILL_IN)
def test_what_must_be_filled_in_is_marked_and_no_secret_stands_there(name: str) -> None:
    text = text_of(name, options=True)
    assert "FILL-IN" in text
    assert not SECRET_VALUE.search(text)
    # A key's name, never with a value.
    for line in text.splitlines():
        given = re.search(r"(AWS_SECRET_ACCESS_KEY|RAY_AUTH_TOKEN|HF_TOKEN)\s*[=:]\s*(\S+)", line)
        assert given is None or given[2] in ("…", "null", "$(openssl"), line


@pytest.mark.parametrize("name", FILL_IN)
def test_every_version_of_ray_is_the_constrained_one(name: str) -> None:
    text = text_of(name, options=True)
    assert set(re.findall(r"\b2\.\d+\.\d+\b", text)) <= {constrained("ray")}
    for tag in re.findall(r"/editmill:(\S+)", text):
        assert tag == constrained("ray")


def test_files_that_are_shipped_are_in_the_wheel_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["cluster"]
    shipped = {path for pattern in patterns for path in CLUSTER.glob(pattern)}
    assert {CLUSTER / name for name in FILL_IN} <= shipped


def test_the_image_is_that_of_the_constrained_ray_and_of_a_python_we_run_on() -> None:
    dockerfile = text_of("Dockerfile")
    assert f"ARG RAY_VERSION={constrained('ray')}\n" in dockerfile
    found = re.search(r"^FROM rayproject/ray:\$\{RAY_VERSION\}-py3(\d+)-gpu$", dockerfile, re.M)
    assert found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == f">=3.{found[1]}"


def test_the_dockerfile_copies_what_exists_and_installs_by_the_constraints() -> None:
    dockerfile = text_of("Dockerfile")
    sources: list[str] = []
    for words in re.findall(r"^COPY --chown=1000:100 (.*)$", dockerfile, re.MULTILINE):
        sources += words.split()[:-1]
    assert {"constraints.txt", "pyproject.toml", "factory", "schemas"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert "--constraint constraints.txt ." in dockerfile
    ignored = text_of("Dockerfile.dockerignore").split()
    assert [source for source in sources if f"!{source}" not in ignored] == []


def test_the_image_is_not_root_and_its_rays_ask_for_a_token() -> None:
    lines = text_of("Dockerfile").splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 1000"
    assert "ENV RAY_AUTH_MODE=token \\" in lines


def test_baked_weights_are_looked_for_where_they_are_copied() -> None:
    chosen = text_of("Dockerfile", options=True)
    assert "ENV HF_HOME=/home/ray/models HF_HUB_OFFLINE=1\n" in chosen
    assert "COPY --chown=1000:100 models /home/ray/models\n" in chosen
    assert "HF_HOME=" not in re.sub(r"^#.*$", "", text_of("Dockerfile"), flags=re.MULTILINE)
