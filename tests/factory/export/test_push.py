"""`--push`, against a Hub that is a stand-in of `HfApi`: what is sent, in which order, and once."""

import hashlib
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from typer.testing import CliRunner

from factory.__main__ import app
from tests.factory.export.runs import shared_run


class StandIn:
    """Keeps what it is sent; `dies_at` is the commit that it does not take."""

    def __init__(self):
        self.repositories = {}
        self.files = {}
        self.commits = []
        self.dies_at = None
        self.token = None

    def create_repo(self, repo_id, *, repo_type, private, exist_ok):
        assert (repo_type, exist_ok) == ("dataset", True)
        self.repositories.setdefault(repo_id, private)

    def get_paths_info(self, repo_id, paths, *, repo_type):
        return [
            SimpleNamespace(
                path=path, lfs=SimpleNamespace(sha256=hashlib.sha256(self.files[path]).hexdigest())
            )
            for path in paths
            if path in self.files
        ]

    def create_commit(self, repo_id, *, repo_type, operations, commit_message):
        if len(self.commits) == self.dies_at:
            raise HfHubHTTPError(
                "503 Service Unavailable", response=SimpleNamespace(headers={}, request=None)
            )
        self.commits.append([one.path_in_repo for one in operations])
        for one in operations:
            with one.as_file() as file:
                self.files[one.path_in_repo] = file.read()


class Unreachable(Exception):
    """As a library of requests raises what is no `OSError`."""


@pytest.fixture
def hub(monkeypatch):
    stand_in = StandIn()

    def api(token, endpoint):
        stand_in.token = token
        return stand_in

    monkeypatch.setattr("huggingface_hub.HfApi", api)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_" + "x" * 30)
    monkeypatch.setattr("factory.export.shards.MB", 9000)
    monkeypatch.setattr("factory.export.push.FILES_AT_ONCE", 3)
    return stand_in


def export(to, *options):
    words = ["export", shared_run(), "--to", str(to), "--set", "recipe.shard_mb=1", *options]
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output


def there(to):
    return {
        path.relative_to(to).as_posix(): path.read_bytes()
        for path in to.rglob("*")
        if path.is_file() and not path.relative_to(to).as_posix().startswith(("_editmill", "."))
    }


def test_an_export_is_brought_whole_the_card_last(hub, tmp_path):
    code, said = export(tmp_path / "to", "--push", "me/pairs")
    assert code == 0, said
    assert hub.files == there(tmp_path / "to")
    assert hub.repositories == {"me/pairs": True}
    assert "README.md" in hub.commits[-1]
    assert not any("README.md" in commit for commit in hub.commits[:-1])
    assert "hf_xxx" not in said


def test_what_is_there_is_not_sent_again(hub, tmp_path):
    hub.dies_at = 2
    code, said = export(tmp_path / "to", "--push", "me/pairs")
    assert code == 3
    assert "the Hub did not take it: HfHubHTTPError: 503" in said
    assert "README.md" not in hub.files
    first, hub.dies_at = [name for commit in hub.commits for name in commit], None
    assert export(tmp_path / "to", "--push", "me/pairs", "--public")[0] == 0
    second = [name for commit in hub.commits[2:] for name in commit]
    assert not set(first) & set(second)
    assert hub.files == there(tmp_path / "to")


def test_a_hub_that_does_not_answer_is_told_in_a_line(hub, monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise Unreachable("[Errno -2] Name or service not known")

    monkeypatch.setattr(hub, "create_repo", unreachable, raising=False)
    code, said = export(tmp_path / "to", "--push", "me/pairs")
    assert code == 3
    last = said.splitlines()[-1]
    assert "the Hub did not take it: Unreachable: [Errno -2] Name or service not known" in last
    assert f"{tmp_path}/to is whole, and the same command goes on" in last


def test_what_is_no_repositorys_name_is_refused_before_anything(hub, tmp_path):
    code, said = export(tmp_path / "to", "--push", "me/my/pairs")
    assert code == 2
    assert "--push: must be a repository's name on the Hub, as me/pairs, got 'me/my/pairs'" in said
    assert not (tmp_path / "to").exists()


def test_without_a_token_nothing_is_begun(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    code, said = export(tmp_path / "to", "--push", "me/pairs")
    assert code == 2
    assert "--push: needs a token of the Hub that may write, got none" in said
    assert not (tmp_path / "to").exists()


def test_the_stand_in_takes_what_the_real_one_takes():
    """Names of what is called and given, by the installed client."""
    import inspect

    for name in ("create_repo", "get_paths_info", "create_commit"):
        real = inspect.signature(getattr(HfApi, name)).parameters
        ours = inspect.signature(getattr(StandIn, name)).parameters
        assert ours.keys() <= real.keys(), name
