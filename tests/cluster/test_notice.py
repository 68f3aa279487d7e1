import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.notice import AmazonMachine, GoogleMachine, main, watch
from tests.cluster.ray_words import drain_options
from tests.cluster.stub_programs import StubPrograms

KEY = "key-of-this-session"


class Cloud:
    """Answers as a cloud does that is asked by one of its machines about itself."""

    def __init__(self) -> None:
        self.leaving_after = 0
        """How often it is asked before it says that the machine is to leave."""
        self.asked = 0
        self.broken = 0
        """How many answers are an error of the cloud's."""
        self.key = KEY
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                known = self.path == "/latest/api/token"
                ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
                self.reply(200 if known and ttl else 400, cloud.key)

            def do_GET(self) -> None:
                cloud.asked += 1
                if cloud.broken:
                    cloud.broken -= 1
                    self.reply(500, "")
                elif self.path == "/latest/meta-data/spot/instance-action":
                    self.amazon()
                elif self.path == "/computeMetadata/v1/instance/preempted":
                    self.google()
                else:
                    self.reply(400, "")

            def amazon(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") != cloud.key:
                    self.reply(401, "")
                elif cloud.asked > cloud.leaving_after:
                    action = {"action": "terminate", "time": "2026-11-27T08:22:00Z"}
                    self.reply(200, json.dumps(action))
                else:
                    self.reply(404, "")

            def google(self) -> None:
                if self.headers.get("Metadata-Flavor") != "Google":
                    self.reply(403, "")
                else:
                    self.reply(200, "TRUE" if cloud.asked > cloud.leaving_after else "FALSE")

            def reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.end()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubPrograms:
    programs = StubPrograms(tmp_path)
    programs.add("ray", 'sys.exit(int(os.path.exists(os.environ["STUB_CALLS"] + ".deaf")))\n')
    for name, value in programs.environment().items():
        monkeypatch.setenv(name, value)
    return programs


@pytest.mark.parametrize(
    ("machine", "seconds"), [(AmazonMachine, 120), (GoogleMachine, 30)], ids=["aws", "gcp"]
)
def test_ray_is_told_once_as_soon_as_the_cloud_says_so(
    machine: type[AmazonMachine], seconds: int, cloud: Cloud, programs: StubPrograms
) -> None:
    cloud.leaving_after = 3
    watch(machine(cloud.address), every_s=0.01)
    assert cloud.asked == 4
    (call,) = programs.calls("ray")
    options = drain_options(call)
    assert options["reason"] == "DRAIN_NODE_REASON_PREEMPTION"
    assert options["deadline_remaining_seconds"] == seconds
    # The node on which it runs.
    assert options["node_id"] is None


def test_a_cloud_that_fails_for_a_while_is_asked_again(
    cloud: Cloud, programs: StubPrograms, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.broken = 3
    watch(GoogleMachine(cloud.address), every_s=0.01)
    assert len(programs.calls("ray")) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "does not answer" in line]
    assert len(told) == 1


def test_a_key_that_ran_out_is_replaced(cloud: Cloud) -> None:
    cloud.leaving_after = 1
    machine = AmazonMachine(cloud.address)
    assert machine.is_leaving() is False
    cloud.key = "another"
    with pytest.raises(OSError, match="401"):
        machine.is_leaving()
    assert machine.is_leaving() is True


def test_ray_is_told_again_until_it_has_heard(cloud: Cloud, programs: StubPrograms) -> None:
    deaf = Path(programs.environment()["STUB_CALLS"] + ".deaf")
    deaf.touch()
    watching = threading.Thread(target=watch, args=(GoogleMachine(cloud.address), 0.01))
    watching.start()
    while len(programs.calls("ray")) < 2:
        assert watching.is_alive()
    deaf.unlink()
    watching.join(timeout=30)
    assert not watching.is_alive()


def test_without_a_ray_to_tell_it_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["aws"]) == 2
    assert "notice: ray must be on PATH, got none" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["azure"], ["aws", "gcp"]])
def test_another_cloud_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    got = " ".join(words) or "none"
    said = f"notice: must be followed by one of aws, gcp, got {got}"
    assert said in capsys.readouterr().err
