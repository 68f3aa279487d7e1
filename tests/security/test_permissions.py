"""Keys that may not delete are enough for everything but `gc --delete`.

A start that may not leaves the few bytes by which it tried the store, and asks once.
"""

import time
from functools import partial

import pytest
from typer.testing import CliRunner

from factory.__main__ import app
from factory.storage.open import open_store
from factory.storage.s3.store import S3Store
from tests.servers import fault_proxy
from tests.servers.fault_proxy import Fault, FaultProxy, even_odds

LINES = [
    f'{{"input": "a {colour} circle", "edit": "make it white", "output": "a white circle {i}"}}\n'
    for i, colour in enumerate(("red", "green", "blue", "black", "grey"))
]


class KeepingProxy(FaultProxy):
    """As a bucket's policy would: whoever deletes gets 403; what was asked for is noted."""

    def __init__(self, upstream, odds, seed=0):
        super().__init__(upstream, odds, seed)
        self.methods = []
        self.deletions = []

    async def _answer(self, request, writer):
        self.methods.append(request.method)
        if request.method == "DELETE" or "delete" in request.query:
            self.deletions.append(request.path)
            return await fault_proxy._say(writer, "403 Forbidden", "AccessDenied", request)
        return await super()._answer(request, writer)


@pytest.fixture
def keeping(moto, moto_bucket, monkeypatch):
    # With faults, because whoever tidies up after a failure would do it here.
    odds = even_odds(0.0, error_after=0.05, reply_dropped=0.05)
    with KeepingProxy(moto.endpoint, odds, seed=3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        # Waits between the attempts would only take time.
        monkeypatch.setattr("time.sleep", lambda _: None)
        proxy.root = moto_bucket
        yield proxy


def command(code, *words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.long
def test_only_gc_deletes_what_a_run_is_made_of(keeping, configuration, tmp_path, monkeypatch):
    first, longer = tmp_path / "first.jsonl", tmp_path / "longer.jsonl"
    first.write_text("".join(LINES[:3]))
    longer.write_text("".join(LINES))
    out = f"{keeping.root}/run"
    options = ("--out", out, "--config", configuration, "--set", "budget.floor_after=100000")
    generate = partial(command, 0, "generate", *options)
    generate("--triplets", first, "--limit", 1)
    generate("--triplets", first)
    generate("--triplets", longer, "--extend", "--retry-failed")
    command(0, "seal", out)
    command(0, "status", out)
    command(0, "verify", out)
    command(0, "sheet", out, "--out", tmp_path / "sheet.png")
    command(0, "gc", out)
    assert len(keeping.deletions) == 3, "one for each start"
    assert all("/run/probe/" in path for path in keeping.deletions)
    assert keeping.methods.count("PUT") > 15
    assert keeping.counts[Fault.ERROR_AFTER] + keeping.counts[Fault.REPLY_DROPPED] > 0
    keeping.odds = {}
    open_store(out).put("pairs/00000001-0123456789abcdef.parquet", b"orphan")
    monkeypatch.setattr(S3Store, "now", lambda _: time.time() + 48 * 3600)
    keeping.deletions.clear()
    refused = command(2, "gc", out, "--delete")
    assert len(keeping.deletions) == 1
    assert "s3:DeleteObject" in refused.output
