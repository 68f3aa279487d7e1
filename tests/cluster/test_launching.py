import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.launching.tool import Launch, launch_of
from editmill import app
from factory.errors import ConfigError

ROOT = Path(__file__).parents[2]
LAUNCHER = "cluster_name: mill\nprovider: {type: aws, region: us-west-2}\n"
KUBERAY = "apiVersion: ray.io/v1\nkind: {kind}\nmetadata: {{name: mill}}\n"
SKY = "name: mill\nresources: {use_spot: true}\nrun: ray start\n"
SKY_JOB = (
    "name: mill\nresources: {job_recovery: {}}\nsecrets: {TOKEN: null, OTHER: given}\nrun: ray\n"
)


def write(tmp_path: Path, text: str) -> str:
    file = tmp_path / "mill.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(
    ("text", "up", "down"),
    [
        (LAUNCHER, "ray up --no-restart FILE", "ray down FILE"),
        (
            KUBERAY.format(kind="RayCluster"),
            "kubectl apply -f FILE",
            "kubectl delete --ignore-not-found -f FILE",
        ),
        (
            f"{KUBERAY.format(kind='RayJob')}---\nkind: Secret\n",
            "kubectl apply -f FILE",
            "kubectl delete --ignore-not-found -f FILE",
        ),
        (SKY, "sky launch --cluster mill --detach-run FILE", "sky down mill"),
        (
            SKY_JOB,
            "sky jobs launch --name mill --detach-run --secret TOKEN FILE",
            "sky jobs cancel --name mill",
        ),
    ],
)
def test_a_file_is_started_and_ended_by_the_tool_of_its_kind(
    tmp_path: Path, text: str, up: str, down: str
) -> None:
    file = write(tmp_path, text)
    for verb, words in (("up", up), ("down", down)):
        done = CliRunner().invoke(app, [verb, file, "--dry-run"])
        assert (done.exit_code, done.stdout) == (0, words.replace("FILE", file) + "\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            LAUNCHER + "max_workers: FILL-IN\n",
            "FILE:3: must be filled in, got 'max_workers: FILL-IN'",
        ),
        ("address: http://head:8265\n", "FILE: must describe a cluster to start, got the address"),
        ("a: 1\nb: 2\n", "FILE: must be Ray's launcher YAML"),
        ("#!/bin/bash\n#SBATCH --nodes 2\n", "FILE: must be Ray's launcher YAML"),
        ("a: [\n", "FILE: not valid YAML: while parsing"),
    ],
)
def test_other_files_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        launch_of(file)
    assert str(refused.value).replace(file, "FILE").startswith(message)


def test_a_secret_that_is_not_set_is_named_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, SKY_JOB)
    monkeypatch.delenv("TOKEN", raising=False)
    refused = CliRunner().invoke(app, ["up", file])
    assert refused.exit_code == 2
    assert "TOKEN: must be set in this shell for such a file, got nothing" in refused.output


def test_a_comment_may_say_fill_in(tmp_path: Path) -> None:
    assert launch_of(write(tmp_path, f"# Replace every FILL-IN\n{LAUNCHER}")).tool == "ray"


TOOL = """#!/bin/sh
echo "$0 $@" >> {calls}
exit {code}
"""


@pytest.mark.parametrize(("code", "ends_with"), [(0, 0), (7, 3)])
def test_the_tool_is_run_and_its_command_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, ends_with: int
) -> None:
    tool = tmp_path / "kubectl"
    tool.write_text(TOOL.format(calls=tmp_path / "calls", code=code))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    file = write(tmp_path, KUBERAY.format(kind="RayCluster"))
    done = CliRunner().invoke(app, ["up", file])
    assert done.exit_code == ends_with
    assert (tmp_path / "calls").read_text() == f"{tool} apply -f {file}\n"
    said = done.stderr.splitlines()
    assert said[0] == f"kubectl apply -f {file}"
    assert said[1].startswith(
        "`kubectl port-forward svc/mill-head-svc 8265`" if code == 0 else "kubectl: ended with 7"
    )
    (tmp_path / "calls").unlink()
    done = CliRunner().invoke(app, ["down", file])
    assert done.exit_code == ends_with
    assert (tmp_path / "calls").read_text() == f"{tool} delete --ignore-not-found -f {file}\n"


SHIPPED = {"kuberay/rayjob": "kubectl", "skypilot/editmill": "sky"}


def filled_in(tmp_path: Path, name: str, **changed: str) -> str:
    """A shipped file, with a list of triplets that a laptop has in the place of the bucket's."""
    text = (ROOT / "cluster" / f"{name}.yaml").read_text().replace("FILL-IN", "bucket")
    for before, after in changed.items():
        text = text.replace(before.replace("_", "-"), after)
    return write(tmp_path, text)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_verb_of_a_file_that_brings_its_job_is_read(tmp_path: Path, name: str) -> None:
    verb, *options = launch_of(filled_in(tmp_path, name)).runs
    assert verb == "generate"
    said = dict(zip(options[::2], options[1::2], strict=True))
    assert said["--triplets"] == "s3://bucket/triplets.parquet"
    assert said["--out"] == "s3://bucket/runs/first"
    assert said["--max-gpu-hours"] == "100"
    workers = {"kuberay/rayjob": 8, "skypilot/editmill": 4}[name]
    assert f"compute.max_workers={workers}" in options


@pytest.mark.parametrize(
    "run", ["ray start", "python -m editmill generate --out $NOBODYS", "python -m editmill 'open"]
)
def test_a_verb_that_cannot_be_read_is_none(tmp_path: Path, run: str) -> None:
    text = f"name: mill\nresources: {{use_spot: true}}\nrun: |\n  {run}\n"
    assert launch_of(write(tmp_path, text)).runs == ()


@pytest.mark.parametrize("name", SHIPPED)
def test_what_its_verb_would_refuse_is_refused_before_a_node_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tool = tmp_path / SHIPPED[name]
    tool.write_text(TOOL.format(calls=tmp_path / "calls", code=0))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for secret in ("RAY_AUTH_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(secret, "x")
    file = filled_in(tmp_path, name, max_gpu_hours="max-gpu-weeks")
    done = CliRunner().invoke(app, ["up", file])
    assert done.exit_code == 2
    assert f"{file}: " in done.output
    assert "max-gpu-weeks" in done.output
    assert not (tmp_path / "calls").exists()


def test_a_tool_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    launch = Launch(tool="sky", up=(), down=(), yes=(), then="")
    with pytest.raises(ConfigError, match="sky: must be installed and on PATH .* skypilot"):
        launch.program()
