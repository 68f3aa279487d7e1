"""`jobs`, `logs` and `stop` against a jobs API that is played by a small server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from editmill import app

TOKEN = "t" * 32
JOBS: list[dict[str, Any]] = [
    {
        "submission_id": "old",
        "status": "SUCCEEDED",
        "driver_exit_code": 0,
        "start_time": 1_700_000_000_000,
        "end_time": 1_700_000_065_000,
        "entrypoint": "exec python -m editmill generate --out s3://bucket/run",
    },
    {"submission_id": None, "job_id": "01000000", "status": "RUNNING", "start_time": 1},
    {
        "submission_id": "new",
        "status": "FAILED",
        "driver_exit_code": 4,
        "start_time": 1_700_000_100_000,
        "end_time": 1_700_000_101_000,
        "entrypoint": "exec python -m editmill edit --out https://me:hidden@host/x",
    },
]


class _Api(BaseHTTPRequestHandler):
    is_open = False

    def do_GET(self) -> None:
        allowed = self.is_open or self.headers.get("Authorization") == f"Bearer {TOKEN}"
        found: Any = None
        if self.path == "/api/jobs/":
            found = JOBS
        elif self.path.endswith("/logs"):
            found = {"logs": f"log of {self.path.split('/')[3]}\n"}
        body = json.dumps(found).encode()
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(body if allowed else b"{}")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[ThreadingHTTPServer]:
    kind = type("Api", (_Api,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def file(api: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    path = tmp_path / "cluster.yaml"
    path.write_text(f"address: http://127.0.0.1:{api.server_address[1]}\n")
    return str(path)


def test_jobs_are_listed_newest_first_without_what_looks_like_a_secret(file: str) -> None:
    done = CliRunner().invoke(app, ["jobs", file, "--json"])
    assert done.exit_code == 0, done.stderr
    new, old = json.loads(done.stdout)["jobs"]
    assert old == {
        "job": "old",
        "status": "SUCCEEDED",
        "exit_code": 0,
        "begun": "2023-11-14T22:13:20+00:00",
        "took": "1 min 5 s",
        "command": "generate --out s3://bucket/run",
    }
    assert (new["job"], new["exit_code"]) == ("new", 4)
    assert "hidden@" not in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert "old" in CliRunner().invoke(app, ["jobs", file]).stdout


def test_the_newest_jobs_log_is_shown_unasked(file: str) -> None:
    assert CliRunner().invoke(app, ["logs", file]).stdout == "log of new\n"
    assert CliRunner().invoke(app, ["logs", file, "old"]).stdout == "log of old\n"
    unknown = CliRunner().invoke(app, ["logs", file, "odd"])
    assert unknown.exit_code == 2
    assert "JOB: must be one of this cluster, got 'odd'; newest: new" in unknown.stderr


def test_an_open_cluster_is_refused_unless_asked_for(
    api: ThreadingHTTPServer, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.RequestHandlerClass, "is_open", True)
    for verb in (["jobs", file], ["logs", file], ["stop", file, "new"]):
        refused = CliRunner().invoke(app, verb)
        assert refused.exit_code == 2
        assert "the cluster must ask for a token" in refused.stderr
    assert CliRunner().invoke(app, ["jobs", file, "--open-cluster"]).exit_code == 0


def test_without_a_token_or_with_a_local_cluster_there_are_no_jobs(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    refused = CliRunner().invoke(app, ["jobs", file])
    assert refused.exit_code == 2
    assert "the cluster asks for a token, got none" in refused.stderr
    local = CliRunner().invoke(app, ["jobs", "local"])
    assert local.exit_code == 2
    assert "must name a cluster that is there, got `local`" in local.stderr
