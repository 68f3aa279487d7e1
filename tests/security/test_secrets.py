"""Keys come from the environment and go nowhere: canaries are planted, and looked for everywhere."""

import logging

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.storage.open import open_store
from tests.factory.storage.crooked import answer, crooked_server, reply
from tests.servers.fault_proxy import FaultProxy, even_odds

CANARY = "canary0"
"""In every planted value, in a form that survives URLs and JSON."""
PLANTED = {
    "AWS_ACCESS_KEY_ID": f"AKIA{CANARY}ACCESSKEY",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}/secret+access/key",
    "AWS_SESSION_TOKEN": f"{CANARY}session//token==",
    "OPENAI_API_KEY": f"sk-{CANARY}-openai",
    "HF_TOKEN": f"hf_{CANARY}huggingface",
    "RAY_AUTH_TOKEN": f"{CANARY}raytoken",
}
LINES = [
    f'{{"input": "a {colour} circle", "edit": "make it white", "output": "a white circle {i}"}}\n'
    for i, colour in enumerate(("red", "green", "blue"))
]


@pytest.fixture
def planted(moto_bucket, monkeypatch, caplog):
    """The bucket's URI, with keys in the environment that must turn up nowhere."""
    caplog.set_level(logging.INFO)
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    # Waits between the attempts would only take time.
    monkeypatch.setattr("time.sleep", lambda _: None)
    return moto_bucket


@pytest.fixture
def command(capfd, caplog):
    """Runs a command in this process; what it said by any way, and its exit code."""

    def run(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        said = [result.output, *capfd.readouterr(), caplog.text]
        assert result.exception is None or isinstance(result.exception, SystemExit), said
        # Keys of Amazon's have capitals only.
        assert CANARY not in "".join(said).lower()
        return result.exit_code, result.output

    return run


@pytest.mark.long
def test_a_run_with_failing_requests_shows_and_stores_no_key(
    planted, moto, command, configuration, tmp_path, monkeypatch
):
    triplets = tmp_path / "t.jsonl"
    triplets.write_text("".join(LINES))
    out = f"{planted}/run"
    words = ("generate", "--triplets", triplets, "--out", out, "--config", configuration)
    with FaultProxy(moto.endpoint, even_odds(0.02, late=0.0, delayed=0.0), seed=5) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        command(*words)
        proxy.odds = even_odds(1.0)
        for verb in ("status", "verify", "seal"):
            assert command(verb, out)[0] == 3
        assert command(*words)[0] == 3
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    assert command(*words)[0] == 0
    assert command("status", out)[0] == command("verify", out)[0] == 0
    store = open_store(out)
    stored = {info.key: store.get(info.key) for info in store.list()}
    assert {key.partition("/")[0] for key in stored} >= {"RUN.json", "plan", "commits", "manifest"}
    assert len(stored) > 8
    for key, data in stored.items():
        assert CANARY.encode() not in data, key


def page(handler, _):
    """No S3 server, but one that quotes."""
    reply(handler, 200, f"<html>You sent {handler.headers['Authorization']}</html>".encode())


@pytest.mark.parametrize("act", [answer(403, "SignatureDoesNotMatch"), answer(500, "Odd"), page])
def test_no_command_repeats_what_a_server_quotes(planted, command, monkeypatch, act):
    with crooked_server(act) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for verb in ("status", "verify", "seal", "gc"):
            code, said = command(verb, f"{planted}/run")
            assert code in (2, 3)
            assert said.startswith("editmill: s3://")


CONFIGS = {
    "an unknown key": f"base: miniature\nopenai_api_key: sk-{CANARY}\n",
    "an unknown group": f"base: miniature\naws: {{secret: {CANARY}}}\n",
    "a known key": f"base: miniature\nrecipe: {{steps: sk-{CANARY}-0123456789abcdef}}\n",
    "a place for a number": f"base: miniature\ncompute: {{device: AKIA{CANARY.upper()}999999999}}\n",
    "a source": f"base: miniature\nrecipe: {{clip: {{source: 'https://me:{CANARY}@host/x'}}}}\n",
    "not YAML": f"base: [miniature\nkey: sk-{CANARY}\n",
    "not a mapping": f"- sk-{CANARY}-0123456789abcdef\n",
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_a_secret_in_a_configuration_is_not_repeated(command, tmp_path, text):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    words = ("generate", "--triplets", "miniature", "--out", tmp_path / "run", "--config", file)
    assert command(*words)[0] == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("status", f"s3://AKIA:{CANARY}@bucket/run"),
        ("status", f"s3://bucket/run?X-Amz-Signature={CANARY}"),
        ("status", f"https://me:{CANARY}@host/run"),
        ("plan", "--triplets", f"s3://AKIA:{CANARY}@bucket/t.jsonl"),
        ("plan", "--triplets", f"https://me:{CANARY}@host/t.jsonl"),
        ("plan", "--triplets", "miniature", "--set", f"openai_api_key=sk-{CANARY}"),
        ("plan", "--triplets", "miniature", "--set", f"recipe.steps=sk-{CANARY}-0123456789abcdef"),
        ("plan", "--triplets", "miniature", "--set", f"hf_{CANARY}0123456789abcdef"),
        ("submit", "local", "--", "generate", "--out", f"https://me:{CANARY}@host/run"),
    ],
    ids=" ".join,
)
def test_a_secret_on_the_command_line_is_not_repeated(command, words):
    assert command(*words)[0] == 2


def test_a_secret_in_the_endpoint_is_not_repeated(planted, command, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:{CANARY}@127.0.0.1:9")
    for verb in ("status", "verify"):
        code, said = command(verb, f"{planted}/run")
        assert code == 2
        assert "AWS_ENDPOINT_URL" in said
