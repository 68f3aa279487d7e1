import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.launching.tool import Launch, launch_of
from editmill import app
from factory.errors import ConfigError

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


def test_a_tool_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    launch = Launch(tool="sky", up=(), down=(), yes=(), then="")
    with pytest.raises(ConfigError, match="sky: must be installed and on PATH .* skypilot"):
        launch.program()
