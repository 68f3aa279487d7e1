import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

from cluster import local
from cluster.access import (
    AccessRefused,
    ClusterUnavailable,
    asks_for_token,
    find_token,
    get_json,
    is_open,
)
from cluster.interruption import Interruption
from cluster.job import Job, JobLost
from cluster.submit import exit_code_of
from cluster.submit import submit as submit_here
from factory.errors import ConfigError
from factory.on_ray.session import admits_anyone as is_joined_by_anyone
from schemas.running.cluster import Cluster
from tests.environment import without_ray

Submit = Callable[..., "subprocess.CompletedProcess[str]"]


def _folder(head: local.LocalCluster) -> Path:
    words = psutil.Process(head.pid).cmdline()
    ray_folder = next(word for word in words if word.startswith("--temp-dir="))
    return Path(ray_folder.partition("=")[2]).parent


def _listening(head: local.LocalCluster) -> list[str]:
    """The addresses at which its processes listen."""
    addresses: list[str] = []
    for process in psutil.Process(head.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a worker may end meanwhile
            connections = process.net_connections("inet")
            addresses += [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN]
    return addresses


def _gcs(head: local.LocalCluster) -> str:
    """The address by which drivers join."""
    (word,) = {
        word
        for process in psutil.Process(head.pid).children(recursive=True)
        for word in process.cmdline()
        if word.startswith("--gcs-address=")
    }
    return word.partition("=")[2]


JOINING = """
import os
import ray
from factory.errors import ConfigError
from factory.on_ray.session import connect
from schemas.config import Compute
compute = Compute(device="cpu", gpus_per_worker=0.0, max_workers=1)
try:
    connect(compute)
except ConfigError as error:
    print(error)
print(ray.is_initialized())
os.environ["EDITMILL_OPEN_CLUSTER"] = "1"
connect(compute)
print(ray.is_initialized())
"""


@pytest.mark.long
def test_a_job_prints_its_log_and_ends_with_0_and_the_token_shows_nowhere(
    submit: Submit, head: local.LocalCluster, cluster_file: Path, token_file: Path
) -> None:
    words = ("config", "show", "--set", "recipe.steps=77")
    done = submit(cluster_file, "--", *words, token_path=token_file)
    assert done.returncode == 0, done.stderr
    assert "  steps: 77" in done.stdout
    assert "submitted" in done.stderr
    assert head.token not in done.stdout + done.stderr
    assert head.token not in json.dumps(get_json(f"{head.address}/api/jobs/", head.token))
    for process in [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a worker may end meanwhile
            assert head.token not in " ".join(process.cmdline())
    logs = [path for path in _folder(head).rglob("*.*") if path.suffix in (".log", ".out", ".err")]
    assert len(logs) > 5
    for log in logs:
        assert head.token not in log.read_text(errors="replace"), log


@pytest.mark.long
def test_the_exit_code_of_a_refused_input_comes_back(
    submit: Submit, cluster_file: Path, token_file: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"original_prompt": "a", "edit_prompt": null, "edited_prompt": "b"}\n')
    words = ("generate", "--triplets", bad, "--out", tmp_path / "run")
    done = submit("--unchecked", cluster_file, "--", *words, token_path=token_file)
    assert done.returncode == 2, done.stderr
    assert "bad.jsonl:1:" in done.stdout
    assert not (tmp_path / "run").exists()


@pytest.fixture
def waiting(head: local.LocalCluster, program_folder: Path, tmp_path: Path) -> Path:
    """A cluster file whose program waits, and drains slowly when stopped."""
    file = tmp_path / "cluster.yaml"
    file.write_text(f"address: {head.address}\nworking_dir: {program_folder.name}\n")
    return file


@pytest.mark.long
def test_a_first_signal_stops_the_job_which_drains(
    environment: dict[str, str], token_file: Path, waiting: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "editmill", "submit", str(waiting), "--", "wait"],
        env=environment | {"RAY_AUTH_TOKEN_PATH": str(token_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "began\n":
                break
        process.terminate()
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 3, errors
    assert "drained" in output
    assert "stopped; run the same command to resume" in errors


@pytest.mark.long
def test_from_another_shell_a_job_is_listed_followed_and_stopped(
    environment: dict[str, str], token_file: Path, waiting: Path
) -> None:
    given: dict[str, Any] = {
        "env": environment | {"RAY_AUTH_TOKEN_PATH": str(token_file)},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }

    def editmill(*words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-m", "editmill", *words], **given)

    submitted = editmill("submit", str(waiting), "--", "wait")
    assert submitted.stdout is not None
    assert any(line == "began\n" for line in submitted.stdout)
    listed, _ = editmill("jobs", str(waiting), "--json").communicate(timeout=60)
    newest = json.loads(listed)["jobs"][0]
    assert (newest["status"], newest["command"]) == ("RUNNING", "wait")
    following = editmill("logs", str(waiting), newest["job"], "--follow")
    assert following.stdout is not None
    assert any(line == "began\n" for line in following.stdout)
    stopping = editmill("stop", str(waiting), newest["job"])
    _, said = stopping.communicate(timeout=180)
    assert stopping.returncode == 0, said
    assert f"job {newest['job']}: stopped" in said
    for process in (following, submitted):
        output, errors = process.communicate(timeout=60)
        assert "drained" in output, errors
        assert process.returncode == 3, errors


@pytest.mark.long
def test_a_used_submission_id_is_named(head: local.LocalCluster) -> None:
    Job(head.address, "twice", head.token).send("true", {}, None)
    with pytest.raises(ConfigError, match="must be new on this cluster, got 'twice' again") as used:
        Job(head.address, "twice", head.token).send("true", {}, None)
    assert "\n" not in str(used.value)


@pytest.mark.long
def test_the_jobs_api_refuses_someone_without_a_token(head: local.LocalCluster) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{head.address}/api/jobs/", timeout=30)
    assert refused.value.code == 401
    assert not is_open(head.address)
    assert not is_joined_by_anyone(_gcs(head))


@pytest.mark.long
def test_a_wrong_token_ends_with_2_and_one_line(submit: Submit, cluster_file: Path) -> None:
    wrong = "0123456789abcdef" * 4
    done = submit(cluster_file, "--", "config", "schema", RAY_AUTH_TOKEN=wrong)
    assert done.returncode == 2
    assert "does not accept this token" in done.stderr
    assert "Traceback" not in done.stderr
    assert wrong not in done.stdout + done.stderr


@pytest.mark.long
def test_without_a_token_a_protected_cluster_is_refused(
    monkeypatch: pytest.MonkeyPatch, head: local.LocalCluster, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AccessRefused, match="RAY_AUTH_TOKEN_PATH"):
        submit_here(Cluster(address=head.address), ["generate"])


@pytest.mark.long
def test_a_local_cluster_keeps_its_token_to_itself_and_off_the_network(
    head: local.LocalCluster,
) -> None:
    folder = _folder(head)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "token").stat().st_mode & 0o777 == 0o600
    deadline = time.monotonic() + 60  # the head answers before its node and agents listen
    while len(listening := _listening(head)) <= 3 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert len(listening) > 3
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


@pytest.mark.long
def test_an_open_cluster_is_refused_unless_asked_for_and_ends_without_a_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    protected = local._environment
    monkeypatch.setattr(
        local, "_environment", lambda folder: protected(folder) | {"RAY_AUTH_MODE": "disabled"}
    )
    with local.local_cluster() as cluster:
        folder = _folder(cluster)
        family = psutil.Process(cluster.pid).children(recursive=True)
        with pytest.raises(AccessRefused, match="must ask for a token") as refused:
            submit_here(Cluster(address=cluster.address), ["generate"])
        jobs = get_json(f"{cluster.address}/api/jobs/", None)
        asks = asks_for_token(cluster.address, open_cluster=True)
        joined = subprocess.run(
            [sys.executable, "-c", JOINING],
            cwd=Path(__file__).parents[2],
            env=without_ray()
            | {"RAY_ADDRESS": _gcs(cluster), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
            capture_output=True,
            text=True,
        )
    assert refused.value.exit_code == 2
    assert jobs == []
    assert not asks
    said, *states = joined.stdout.splitlines()
    assert said.startswith("RAY_ADDRESS: the cluster must ask for a token, got an answer"), joined
    assert states == ["False", "True"]
    assert len(family) > 3
    assert not [process for process in family if process.is_running()]
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("generate", "--tripletz", "x"), "generate: No such option: --tripletz"),
        (
            ("generate", "--triplets", "miniature", "--out", "s3://bucket/run", "--preset", "odd"),
            "odd",
        ),
        (("publish", "x"), "publish: must begin with a verb of this version, got 'publish'"),
    ],
)
def test_what_would_end_with_2_is_refused_before_the_cluster_is_asked(
    submit: Submit, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "cluster.yaml"
    # Nothing answers there.
    file.write_text("address: http://127.0.0.1:9\n")
    done = submit(file, "--", *words)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_a_secret_on_the_command_line_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="must hold no secret"):
        submit_here(Cluster(address="local"), ["generate", "--out", "https://me:hidden@host/x"])


@pytest.mark.parametrize("verb", ["submit", "--help"])
def test_only_verbs_of_other_programs_are_sent(verb: str) -> None:
    with pytest.raises(ConfigError, match="must be followed by a verb"):
        submit_here(Cluster(address="local"), [verb])


def test_the_token_is_looked_for_where_ray_looks_and_in_its_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_token() is None
    default = tmp_path / ".ray" / "auth_token"
    default.parent.mkdir()
    default.write_text("default\n")
    default.chmod(0o644)
    assert find_token() == "default"
    assert "chmod 600" in capsys.readouterr().err
    default.chmod(0o600)
    assert find_token() == "default"
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "missing"))
    with pytest.raises(AccessRefused, match="RAY_AUTH_TOKEN_PATH"):
        find_token()
    (tmp_path / "missing").write_text("named")
    assert find_token() == "named"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "direct")
    assert find_token() == "direct"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "two\nlines")
    with pytest.raises(AccessRefused, match="one line"):
        find_token()


def test_a_job_that_ray_stopped_or_lost_is_incomplete() -> None:
    job = Job("http://127.0.0.1:1", "j", None)
    assert exit_code_of(job, {"status": "STOPPED", "driver_exit_code": None}, False) == 3
    assert exit_code_of(job, {"status": "FAILED", "driver_exit_code": 4}, False) == 4
    # Asked to stop, yet it had ended by itself: its own word counts.
    assert exit_code_of(job, {"status": "SUCCEEDED", "driver_exit_code": 0}, stopped=True) == 0
    assert exit_code_of(job, {"status": "FAILED", "driver_exit_code": 4}, stopped=True) == 4
    assert exit_code_of(job, {"status": "FAILED", "driver_exit_code": -15}, stopped=True) == 3
    with pytest.raises(JobLost, match="killed by signal 9"):
        exit_code_of(job, {"status": "FAILED", "driver_exit_code": -9}, False)
    with pytest.raises(JobLost, match="the node died") as lost:
        exit_code_of(job, {"status": "FAILED", "message": "the node died"}, False)
    assert lost.value.exit_code == 3


def test_a_first_signal_asks_and_only_the_second_raises_and_only_once() -> None:
    asked: list[float] = []
    with Interruption() as interruption:
        interruption.stop = lambda: asked.append(time.time())
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert len(asked) == 1


def test_a_signal_before_there_is_a_job_raises() -> None:
    with Interruption(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


class _Busy:
    """A cluster whose agents come up while it is asked."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.asked = 0

    def submit_job(self, **_: object) -> None:
        self.asked += 1
        if self.asked <= self.refusals:
            raise RuntimeError("500: No available agent to submit job, please try again later.")


def test_a_head_whose_agent_is_not_up_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.job.time.sleep", lambda _: None)
    job, busy = Job("http://127.0.0.1:1", "job", None), _Busy(2)
    job.__dict__["_client"] = busy
    job.send("true", {}, None)
    assert busy.asked == 3
    monkeypatch.setattr("cluster.job.AGENT_S", 0.0)
    job.__dict__["_client"] = _Busy(1)
    with pytest.raises(ClusterUnavailable, match="No available agent"):
        job.send("true", {}, None)
