import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.cluster.ray_words import start_options
from tests.cluster.shipped import changed, constrained, read
from tests.cluster.stub_programs import StubPrograms

TEXT = {"type": "string"}
NAME = "^[a-zA-Z_][a-zA-Z0-9_]*$"
WHOLE = {"type": "integer", "minimum": 0}

# Of SkyPilot 0.14's task and resources (sky/utils/schemas.py), what such a file may use.
TASK: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["run", "resources", "num_nodes"],
    "properties": {
        "name": TEXT,
        "workdir": TEXT,
        "num_nodes": {"type": "integer", "minimum": 1},
        "setup": TEXT,
        "run": TEXT,
        "envs": {
            "type": "object",
            "patternProperties": {NAME: {"type": "string"}},
            "additionalProperties": False,
        },
        # Its schema takes a value, too; ours must not.
        "secrets": {
            "type": "object",
            "patternProperties": {NAME: {"type": "null"}},
            "additionalProperties": False,
        },
        "file_mounts": {"type": "object"},
        "resources": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "infra": TEXT,
                "accelerators": {"anyOf": [TEXT, {"type": "object"}, {"type": "array"}]},
                "instance_type": TEXT,
                "cpus": {"type": ["string", "number"]},
                "memory": {"type": ["string", "number"]},
                "disk_size": {"type": ["string", "integer"]},
                "use_spot": {"type": "boolean"},
                "image_id": TEXT,
                "max_hourly_cost": {"type": "number"},
                "autostop": {"type": ["boolean", "integer", "string", "object"]},
                "job_recovery": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "strategy": {"enum": ["FAILOVER", "EAGER_NEXT_REGION"]},
                        "max_restarts_on_errors": WHOLE,
                        "recover_on_exit_codes": {"type": "array", "items": WHOLE},
                    },
                },
            },
        },
    },
}

RAY_THEN = """
import signal, time
if sys.argv[1] == "health-check":
    sys.exit(int(not os.path.exists(os.environ["STUB_STARTED"])))
if os.environ.get("STUB_RAY_FAILS"):
    sys.exit(1)
def stop(number, frame):
    with open(os.environ["STUB_CALLS"], "a") as file:
        print(json.dumps(["ended", "--head" in sys.argv]), file=file)
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
open(os.environ["STUB_STARTED"], "w").close()
time.sleep(float(os.environ.get("STUB_RAY_LASTS", "60")))
sys.exit(1)
"""
PYTHON_THEN = """
import signal
if os.environ.get("STUB_KILLED"):
    os.kill(os.getpid(), signal.SIGKILL)
with open(os.environ["STUB_CALLS"], "a") as file:
    print(json.dumps(["driver", os.environ["RAY_ADDRESS"]]), file=file)
sys.exit(int(os.environ.get("STUB_CODE", "0")))
"""


@pytest.fixture(params=[False, True], ids=["shipped", "with-options"])
def task(request: pytest.FixtureRequest) -> Any:
    return read("skypilot/editmill.yaml", request.param)


def test_skypilot_knows_every_field_and_secrets_have_no_value(task: Any) -> None:
    jsonschema.validate(task, TASK)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("nodes",), 4),
        (("num_nodes",), 0),
        (("resources", "spot"), True),
        (("resources", "job_recovery", "strategy"), "NEXT"),
        (("resources", "job_recovery", "recover_on_exit_code"), [3]),
        (("secrets", "HF_TOKEN"), "a value"),
        (("envs", "A-B"), "x"),
    ],
)
def test_a_wrong_field_or_value_is_found(place: tuple[str, ...], value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed(read("skypilot/editmill.yaml"), place, value), TASK)


def test_spot_nodes_are_replaced_and_only_what_resumes_is_begun_again(task: Any) -> None:
    resources = task["resources"]
    assert resources["use_spot"] is True
    assert resources["image_id"] == f"docker:FILL-IN/editmill:{constrained('ray')}"
    assert resources["job_recovery"] == {
        "strategy": "EAGER_NEXT_REGION",
        "recover_on_exit_codes": [3],
        "max_restarts_on_errors": 0,
    }


class Node:
    """One of the task's nodes, by its rank; it runs the script of the task."""

    def __init__(self, folder: Path) -> None:
        self.programs = StubPrograms(folder)
        self.programs.add("ray", RAY_THEN)
        self.programs.add("python", PYTHON_THEN)
        self.script = folder / "run.sh"
        self.script.write_text(
            read("skypilot/editmill.yaml")["run"].replace("sleep 2", "sleep 0.1")
        )
        self.started = folder / "started"

    def run(self, rank: int, **more: str) -> tuple[int, str]:
        ended = self.programs.run(
            self.script,
            SKYPILOT_NODE_RANK=str(rank),
            SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2",
            SKYPILOT_NUM_NODES="2",
            EDITMILL_TRIPLETS="s3://b/t.parquet",
            EDITMILL_OUT="s3://b/runs/first",
            STUB_STARTED=str(self.started),
            **more,
        )
        return ended.returncode, ended.stdout + ended.stderr

    def starts(self) -> list[dict[str, Any]]:
        calls = [call for call in self.programs.calls("ray") if call[1] == "start"]
        return [start_options(" ".join(call)) for call in calls]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_first_node_starts_a_ray_runs_the_verb_and_ends_its_own_ray(node: Node) -> None:
    code, said = node.run(0)
    assert (code, said) == (0, "")
    (started,) = node.starts()
    assert started["head"]
    assert started["block"]
    assert started["port"] == 6379
    # SkyPilot's own Ray has the usual one.
    assert started["dashboard_agent_listen_port"] == 52366
    assert node.programs.calls("driver") == [["driver", "10.0.0.1:6379"]]
    (verb,) = node.programs.calls("python")
    assert verb[1:4] == ["-m", "editmill", "generate"]
    assert "compute.max_workers=2" in verb
    assert node.programs.calls("ended") == [["ended", True]]


@pytest.mark.parametrize(("code", "ended"), [(2, 2), (3, 3), (4, 4), (5, 5)])
def test_the_job_ends_with_the_verbs_own_exit_code(node: Node, code: int, ended: int) -> None:
    assert node.run(0, STUB_CODE=str(code))[0] == ended


def test_a_driver_that_was_killed_is_begun_again(node: Node) -> None:
    assert node.run(0, STUB_KILLED="1")[0] == 3


def test_a_ray_that_did_not_start_is_tried_again(node: Node) -> None:
    code, said = node.run(0, STUB_RAY_FAILS="1")
    assert code == 3
    assert said.endswith("Ray did not start\n")


def test_the_other_nodes_join_the_first_and_end_with_it(node: Node) -> None:
    node.started.touch()
    assert node.run(1, STUB_RAY_LASTS="0.1") == (0, "")
    (started,) = node.starts()
    assert started["address"] == "10.0.0.1:6379"
    assert not started["head"]
    assert started["labels"] == "ray.io/market-type=spot"
    assert node.programs.calls("driver") == []


def test_a_node_that_comes_when_all_is_done_ends_too(node: Node) -> None:
    node.script.write_text(node.script.read_text().replace("seq 900", "seq 3"))
    assert node.run(1, STUB_RAY_FAILS="1")[0] == 0


def test_no_node_ends_skypilots_own_ray(task: Any) -> None:
    commands = re.sub(r"^\s*#.*$", "", task["run"], flags=re.MULTILINE)
    assert "ray stop" not in commands
