"""A server that cuts listings without a token ends a training: with 3, for it is there to be resumed."""

import os
import shlex

import pytest
from typer.testing import CliRunner

from editmill import app
from tests.bad_input.training_materials import FIT, real
from tests.factory.storage.crooked import crooked_server, cut_listings, forward


@pytest.mark.long
def test_a_listing_that_is_cut_after_a_start_ends_it_with_3(moto_bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real()
    behind = os.environ["AWS_ENDPOINT_URL"]
    whole, cut, stored = forward(behind), cut_listings(behind, most=1), []

    def act(handler, body):
        if handler.command == "PUT" and "/out/checkpoints/" in handler.path:
            stored.append(handler.path)
        (cut if stored else whole)(handler, body)

    command = FIT.replace("--out out", f"--out {moto_bucket}/out")
    command += " --config f.yaml --set watching.checkpoint_every=1 --set law.steps=6"
    with crooked_server(act) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        result = CliRunner().invoke(app, shlex.split(command))
    assert stored
    assert result.exit_code == 3, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("editmill: ")
    assert last.endswith(
        "ListObjectsV2 cut the listing and gave no token; this server cannot be used"
    )
