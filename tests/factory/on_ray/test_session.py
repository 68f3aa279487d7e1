"""A Ray of our own lets nobody else in, and another is joined only where it does not, either."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import psutil
import pytest
from ray._private.worker import print_worker_logs

from factory.errors import ConfigError
from factory.on_ray import ray_internals, session
from factory.on_ray.session import _keep_others_out, admits_anyone, connect
from schemas.config import Compute
from schemas.running.cluster import OPEN_CLUSTER
from tests.environment import without_ray

ROOT = Path(__file__).parents[3]
CODE = """
import os, signal, time
from factory.console.signals import answer_signals
answer_signals()
from factory.on_ray.session import connect
from schemas.config import Compute
connect(Compute(device="cpu", gpus_per_worker=0.0, max_workers=1))
import psutil, ray
assert ray.cluster_resources()["CPU"] > 0
# Once there is a worker, everyone is there.
ray.get(ray.remote(lambda: 1).remote())
token = os.environ["RAY_AUTH_TOKEN"]
guarded, doors = set(), set()
family = psutil.Process().children(recursive=True)
for process in [psutil.Process(), *family]:
    assert token not in " ".join(process.cmdline())
    there = process.environ()
    if (there.get("RAY_AUTH_MODE"), there.get("RAY_AUTH_TOKEN")) == ("token", token):
        guarded.add(process.name())
    doors |= {door.laddr.ip for door in process.net_connections("tcp") if door.status == "LISTEN"}
print("guarded", sorted(guarded & {"gcs_server", "raylet"}))
print("files", os.listdir(os.environ["HOME"]))
print("doors", sorted(doors))
(folder,) = [name for name in os.listdir("/tmp") if name.startswith("emr-") and
             os.path.exists(f"/tmp/{name}/r/session_latest/sockets/raylet") and
             str(os.getpid()) in os.readlink(f"/tmp/{name}/r/session_latest")]
print("mode", oct(os.stat(f"/tmp/{folder}").st_mode & 0o777))
print("left", f"/tmp/{folder}", *(process.pid for process in family), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""


@pytest.mark.long
def test_a_ray_of_our_own_is_this_users_alone_and_gone_when_a_signal_ends_it(tmp_path):
    """A token that no file and no command line shows, loopback only, a private folder; the last words."""
    # As batch systems set it: too long for Ray's sockets.
    long = tmp_path / ("t" * 100)
    long.mkdir()
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=without_ray() | {"HOME": str(tmp_path / "home"), "TMPDIR": str(long)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr == "editmill: interrupted; run the same command again\n"
    told = {line.partition(" ")[0]: line.partition(" ")[2] for line in done.stdout.splitlines()}
    assert told["guarded"] == "['gcs_server', 'raylet']"
    assert told["files"] == "[]"
    assert told["doors"] in ("['127.0.0.1']", "['127.0.0.1', '::ffff:127.0.0.1']")
    assert told["mode"] == "0o700"
    folder, *pids = told["left"].split()
    assert not Path(folder).exists()
    until = time.monotonic() + 60
    while any(map(lives, map(int, pids))):
        assert time.monotonic() < until
        time.sleep(0.05)


def lives(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


STARTING = """
import os, signal, time, typer
from factory.console.signals import answer_signals
answer_signals()
from factory.console.command import resumable
from factory.on_ray.session import connect
from schemas.config import Compute

set_handler = signal.signal
def tell_of_rays(number, handler):
    before = set_handler(number, handler)
    if number == signal.SIGTERM and getattr(handler, "__module__", "").startswith("ray."):
        os.write(1, b"a handler of Ray's\\n")
    return before
signal.signal = tell_of_rays

@resumable
def start() -> int:
    os.write(1, b"begun\\n")
    connect(Compute(device="cpu", gpus_per_worker=0.0, max_workers=1))
    os.write(1, b"up\\n")
    time.sleep(60)
    return 0

app = typer.Typer()
app.command()(start)
app()
"""


@pytest.mark.long
@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "moment", ["begun", "a handler of Ray's", "gcs_server", "raylet", "a child of the raylet"]
)
def test_a_signal_ends_a_start_of_ray_with_3_in_words_and_leaves_nothing_of_it(moment, name):
    # Short, as sockets need it, and of this test alone.
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    process = subprocess.Popen(
        [sys.executable, "-c", STARTING],
        cwd=ROOT,
        env=without_ray() | {"RAY_TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        if moment != "begun":
            assert process.stdout.readline() == "a handler of Ray's\n"
        if "raylet" in moment or "server" in moment:
            while not has_come_to(moment, process.pid) and process.poll() is None:
                time.sleep(0.005)
        process.send_signal(name)
        out, err = process.communicate()
    assert process.returncode == 3, err
    assert err == "editmill: interrupted; run the same command to resume\n"
    assert "up" not in out
    # Ray's agents, left alone, would look for their parent for a quarter of a minute.
    until = time.monotonic() + 5
    while left := processes_of(place):
        assert time.monotonic() < until, left
        time.sleep(0.05)
    assert list(place.iterdir()) == []
    place.rmdir()


def has_come_to(moment, pid):
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children():
            if child.name() == moment or child.name() == "raylet" and child.children():
                return True
    return False


def processes_of(place):
    """Names of those whose environment says that their Ray lies there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("RAY_TMPDIR") == str(place) and lives(process.pid):
                found.append(process.name())
    return found


@pytest.fixture
def starts(monkeypatch):
    """What `ray.init` was asked for, and how it ends each time."""
    asked, ends = [], []

    def begin(**options):
        # As Ray does, it leaves what it started where it gives up.
        asked.append(subprocess.Popen(["sleep", "60"]))
        if ends:
            raise ends.pop(0)

    monkeypatch.setattr(session.ray, "init", begin)
    monkeypatch.setattr(session, "watch_own", lambda: lambda: None)
    yield asked, ends
    for process in asked:
        process.kill()


def test_a_ray_that_is_slow_to_start_is_started_again_and_leaves_nothing(starts, capsys):
    asked, ends = starts
    ends += [Exception("The current node timed out during startup. This could happen")] * 2
    with subprocess.Popen(["sleep", "60"]) as other:
        session._start_own(2)
        assert other.poll() is None, "what runs beside Ray goes on"
        other.kill()
    assert len(asked) == session.STARTS == 3
    *late, there = asked
    assert [process.wait(5) for process in late] == [-signal.SIGKILL] * 2
    assert there.poll() is None
    assert capsys.readouterr().err.count("Ray was too slow to start") == 2


@pytest.mark.parametrize(
    ("words", "tries"),
    [("node timed out during startup", 3), ("Failed to start GCS", 3), ("odd", 1)],
)
def test_but_not_for_ever_and_for_no_other_reason(starts, words, tries):
    asked, ends = starts
    ends += [Exception(words)] * 9
    with pytest.raises(session.RayUnreachable, match=words):
        session._start_own(2)
    assert len(asked) == tries


def test_what_ray_tells_of_its_workers_stays_off_stdout(capsys, monkeypatch):
    monkeypatch.setattr(ray_internals.ray_worker, "print_worker_logs", print_worker_logs)
    ray_internals.hear_workers(session._tell)
    for line in ("a node ran out of memory", "submit failed, killed by `ray.kill`. Retrying"):
        told = {"lines": [line], "pid": "raylet", "is_err": False}
        ray_internals.ray_worker.print_to_stdstream(told, ignore_prefix=False)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("a node ran out of memory") == 1
    assert "ray.kill" not in shown.err


def test_a_token_that_the_operator_names_is_kept(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "theirs")
    _keep_others_out()
    assert os.environ["RAY_AUTH_TOKEN"] == "theirs"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/a/file")
    _keep_others_out()
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_each_start_has_another_token(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    seen = set()
    for _ in range(3):
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        _keep_others_out()
        seen.add(os.environ["RAY_AUTH_TOKEN"])
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert len(seen) == 3
    assert {len(token) for token in seen} == {64}


def test_an_open_ray_is_not_started(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(
        ConfigError, match="RAY_AUTH_MODE: must be token or unset .* got 'disabled'"
    ):
        _keep_others_out()


@contextmanager
def gcs(status):
    """A server that answers everything so, by its address."""

    class Answers(grpc.GenericRpcHandler):
        def service(self, call):
            def answer(request, context):
                if status is not grpc.StatusCode.OK:
                    context.abort(status, "InvalidAuthToken")
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(1), [Answers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (grpc.StatusCode.OK, True),
        (grpc.StatusCode.UNAUTHENTICATED, False),
        (grpc.StatusCode.UNIMPLEMENTED, False),
    ],
)
def test_a_cluster_is_open_that_answers_someone_without_a_token(status, expected):
    with gcs(status) as address:
        assert admits_anyone(address) == expected


def test_who_does_not_answer_is_not_called_open():
    with gcs(grpc.StatusCode.OK) as address:
        pass
    assert not admits_anyone(address)


class Joined:
    """In the place of Ray, of which the whole is tried in `tests/cluster/test_submit.py`."""

    def __init__(self, address):
        self.gcs_address = address
        self.inside = False

    def is_initialized(self):
        return self.inside

    def init(self, **options):
        self.inside = True

    def shutdown(self):
        self.inside = False

    def get_runtime_context(self):
        return self


@pytest.mark.parametrize(
    ("status", "said", "enters"),
    [
        (grpc.StatusCode.OK, None, False),
        (grpc.StatusCode.OK, "0", False),
        (grpc.StatusCode.OK, "1", True),
        (grpc.StatusCode.UNAUTHENTICATED, None, True),
    ],
)
def test_an_open_cluster_is_left_again_unless_the_environment_allows_it(
    monkeypatch, status, said, enters
):
    compute = Compute(device="cpu", gpus_per_worker=0.0, max_workers=1)
    with gcs(status) as address:
        joined = Joined(address)
        monkeypatch.setattr(session, "ray", joined)
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.delenv(OPEN_CLUSTER, raising=False)
        if said is not None:
            monkeypatch.setenv(OPEN_CLUSTER, said)
        if enters:
            assert connect(compute) == compute
        else:
            with pytest.raises(ConfigError, match=r"RAY_ADDRESS: the cluster must ask for a token"):
                connect(compute)
    assert joined.inside == enters
