"""Lines for fine-tuning, and OpenAI's API for it against a server that fails now and then."""

import json
import re

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.captions.tuning.finetune import STATE, fine_tune
from factory.errors import ConfigError, EditmillError, RunMismatch
from schemas.captions import Tuning
from tests.factory.captions.openai_api import served

TRIPLET = {
    "input": "a red cat",
    "edit": "make it green",
    "output": "a green cat",
    "edit_kind": "colour",
}


class Api:
    """Files and jobs, as the server holds them."""

    def __init__(self):
        self.files, self.jobs, self.log = [], [], []
        self.fails = {}
        """How often a request fails first: before it is heeded, or "late", after it."""
        self.ends = "succeeded"

    def answer(self, method, path, body):
        self.log.append(f"{method} {path}")
        name = f"{method} {path}"
        if self.fails.get(name, 0) > 0:
            self.fails[name] -= 1
            return 503, {}
        found = self.heed(method, path, body)
        if self.fails.get(f"late {name}", 0) > 0:
            self.fails[f"late {name}"] -= 1
            return 503, {}
        return 200, found

    def heed(self, method, path, body):
        if path == "/v1/files" and method == "POST":
            name = re.search(rb'filename="([^"]+)"', body).group(1).decode()
            self.files.append({"id": f"file-{len(self.files)}", "filename": name, "object": "file"})
            return self.files[-1]
        if path == "/v1/files":
            return {"object": "list", "data": self.files, "has_more": False}
        if path == "/v1/fine_tuning/jobs" and method == "POST":
            wanted = json.loads(body)
            self.jobs.append(
                wanted | {"id": f"job-{len(self.jobs)}", "status": "queued", "looks": 0}
            )
            return self.jobs[-1]
        if path == "/v1/fine_tuning/jobs":
            return {"object": "list", "data": self.jobs, "has_more": False}
        job = next(one for one in self.jobs if path.endswith(one["id"]))
        job["looks"] += 1
        if job["looks"] == 2:
            job["status"] = "running"
        elif job["looks"] > 2:
            job |= {"status": self.ends, "fine_tuned_model": f"ft:{job['model']}:1"}
            if self.ends != "succeeded":
                job |= {
                    "error": {"code": "x", "message": "a line is bad"},
                    "fine_tuned_model": None,
                }
        return job


@pytest.fixture
def lines(tmp_path):
    listed, file = tmp_path / "triplets.jsonl", tmp_path / "lines.jsonl"
    listed.write_text(json.dumps(TRIPLET) + "\n")
    result = CliRunner().invoke(
        app, ["captions-prepare", "--triplets", str(listed), "--out", str(file)]
    )
    assert result.exit_code == 0, result.output
    return file


def tune(server, lines, out, **options):
    said = []
    quick = {"say": said.append, "sleep": lambda seconds: None}
    told = {name: options.pop(name) for name in ("suffix", "epochs") if name in options}
    wanted = Tuning(model="gpt-4o-mini", **told)
    return fine_tune(server, wanted, lines, out, **quick, **options), said


def test_a_chat_is_as_the_model_will_be_asked_without_examples(lines):
    (line,) = map(json.loads, lines.read_text().splitlines())
    system, user, assistant = line["messages"]
    assert [system["role"], user["role"], assistant["role"]] == ["system", "user", "assistant"]
    asked, answer = json.loads(user["content"]), json.loads(assistant["content"])
    assert asked == {"id": answer["id"], "caption": "a red cat", "kind_of_edit": "colour"}
    assert answer == {"id": asked["id"], "edit": "make it green", "edited_caption": "a green cat"}


def test_a_completion_is_the_papers(tmp_path):
    listed, file = tmp_path / "triplets.jsonl", tmp_path / "lines.jsonl"
    listed.write_text(json.dumps(TRIPLET) + "\n")
    words = [
        "captions-prepare",
        "--triplets",
        listed,
        "--out",
        file,
        "--form",
        "completion",
        "--json",
    ]
    for _ in range(2):
        result = CliRunner().invoke(app, [*map(str, words)])
        assert json.loads(result.stdout) == {"lines": 1, "form": "completion", "file": str(file)}
    assert json.loads(file.read_text()) == {
        "prompt": "a red cat\n##\n",
        "completion": "make it green\n%%\na green cat\nEND",
    }
    file.write_text("mine")
    result = CliRunner().invoke(app, [*map(str, words)])
    assert (result.exit_code, file.read_text()) == (2, "mine")
    assert "--out: must be a new file" in result.stderr


def test_a_model_is_tuned_and_a_second_start_asks_for_nothing(lines, tmp_path):
    api = Api()
    with served(api.answer) as server:
        state, said = tune(server, lines, tmp_path / "out", suffix="edits", epochs=2)
        assert state.tuned == "ft:gpt-4o-mini:1"
        assert said[-1] == "job job-0: succeeded"
        (job,) = api.jobs
        assert (job["suffix"], job["training_file"]) == ("edits", "file-0")
        assert job["method"]["supervised"]["hyperparameters"] == {"n_epochs": 2}
        api.log.clear()
        again, _ = tune(server, lines, tmp_path / "out")
    assert again == state
    assert api.log == []


@pytest.mark.parametrize("late", ["", "late "])
def test_what_failed_on_its_way_is_sent_once(lines, tmp_path, late):
    api = Api()
    posts = ("POST /v1/files", "POST /v1/fine_tuning/jobs")
    api.fails = {f"{late}{post}": 2 if not late else 1 for post in posts}
    with served(api.answer) as server:
        state, _ = tune(server, lines, tmp_path / "out")
    assert state.tuned
    assert (len(api.files), len(api.jobs)) == (1, 1)


@pytest.mark.parametrize("lost", ["file_id", "job_id"])
def test_a_start_that_was_killed_before_it_heard_pays_for_nothing_twice(lines, tmp_path, lost):
    api, out = Api(), tmp_path / "out"
    with served(api.answer) as server:
        looks = iter([False, True])
        stopped, _ = tune(server, lines, out, should_stop=lambda: next(looks, True))
        assert stopped.tuned is None
        known = json.loads((out / STATE).read_text())
        known["job_id"] = None
        known[lost] = None
        (out / STATE).write_text(json.dumps(known))
        state, _ = tune(server, lines, out)
    assert state.tuned
    assert (len(api.files), len(api.jobs)) == (1, 1)


def test_a_job_that_failed_says_why_and_the_next_start_makes_another(lines, tmp_path):
    api = Api()
    api.ends = "failed"
    with served(api.answer) as server:
        with pytest.raises(EditmillError, match="job job-0: failed: a line is bad"):
            tune(server, lines, tmp_path / "out")
        api.ends = "succeeded"
        state, _ = tune(server, lines, tmp_path / "out")
    assert (state.tuned, len(api.files), len(api.jobs)) == ("ft:gpt-4o-mini:1", 1, 2)


def test_a_folder_holds_one_tuning(lines, tmp_path):
    api = Api()
    with served(api.answer) as server:
        tune(server, lines, tmp_path / "out")
        with pytest.raises(RunMismatch, match="other model, gpt-4o-mini"):
            fine_tune(server, Tuning(model="another"), lines, tmp_path / "out")
        with pytest.raises(ConfigError, match="must be a file of JSON lines"):
            fine_tune(server, Tuning(model="another"), tmp_path / "none", tmp_path / "new")
