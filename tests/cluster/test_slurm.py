import re
import signal
import socket
import stat
import time
from pathlib import Path

import click
import pytest

from tests.cluster.ray_words import symmetric_options
from tests.cluster.shipped import text_of
from tests.cluster.stub_programs import StubPrograms

# Of sbatch(1), those that this script may use.
SBATCH = {"job-name", "partition", "exclusive", "nodes", "ntasks-per-node", "gpus-per-node"} | {
    *("cpus-per-task", "mem", "time", "signal", "requeue", "no-kill", "open-mode", "output"),
    *("account", "qos", "constraint", "dependency", "gres", "mail-type"),
}
# Of srun(1).
SRUN = {"nodes", "ntasks", "no-kill", "wait", "kill-on-bad-exit", "cpus-per-task"}

# As the real ones do: srun runs its command here, symmetric-run what follows `--`, with its exit
# code; and 0 where Ray did not start.
SRUN_THEN = """
words = sys.argv[1:]
while words and words[0].startswith("--"):
    words.pop(0)
os.environ.setdefault("SLURM_NODEID", "0")
os.execvp(words[0], words)
"""
RAY_THEN = """
import stat, subprocess
state = os.environ["EDITMILL_STATE"]
token = os.environ["RAY_AUTH_TOKEN_PATH"]
with open(os.environ["STUB_SEEN"], "w") as file:
    print(oct(stat.S_IMODE(os.stat(token).st_mode)), os.environ["RAY_AUTH_MODE"], token, file=file)
    print(len(open(token).read().strip()), file=file)
if os.environ.get("STUB_RAY_FAILS"):
    sys.exit(0)
code = subprocess.run(sys.argv[sys.argv.index("--") + 1:]).returncode
sys.exit(code)
"""
# The verb, but the script also makes its token with `python`.
PYTHON_THEN = """
if sys.argv[1] == "-c":
    print("f" * 64)
    sys.exit(0)
import signal, time
def stop(number, frame):
    print("drained", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
with open(os.environ["STUB_CALLS"], "a") as file:
    key = os.environ.get("AWS_ACCESS_KEY_ID", "")
    print(json.dumps(["driver", os.environ["RAY_ADDRESS"], key]), file=file)
if os.environ.get("STUB_WAITS"):
    time.sleep(60)
if os.environ.get("STUB_KILLED"):
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(os.environ.get("STUB_CODE", "0")))
"""


class Slurm:
    """The first node of two, on which the batch script runs."""

    def __init__(self, folder: Path) -> None:
        self.programs = StubPrograms(folder)
        self.programs.add("srun", SRUN_THEN)
        self.programs.add("scontrol", 'print(os.environ["STUB_NODES"])\n')
        self.programs.add("ray", RAY_THEN)
        self.programs.add("python", PYTHON_THEN)
        self.home = folder / "home"
        self.home.mkdir()
        activate = folder / "venv" / "bin" / "activate"
        activate.parent.mkdir(parents=True)
        activate.write_text("")
        self.seen = folder / "seen"
        self.script = folder / "editmill.sbatch"
        text = text_of("slurm/editmill.sbatch")
        self.script.write_text(text.replace("FILL-IN/bin", f"{folder}/venv/bin"))

    def variables(self, **more: str) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "STUB_SEEN": str(self.seen),
            "STUB_NODES": "node-a\nnode-b",
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NODELIST": "node-[a-b]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "32",
            **more,
        }

    def run(self, **more: str) -> tuple[int, str]:
        ended = self.programs.run(self.script, "generate", "--out", "a b", **self.variables(**more))
        return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


def sbatch_options(text: str) -> dict[str, str]:
    given = re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?", text, re.MULTILINE)
    unknown = {name for name, _ in given} - SBATCH
    assert not unknown, f"#SBATCH: {unknown}"
    assert len(given) == len(re.findall(r"^#SBATCH", text, re.MULTILINE))
    # Slurm reads no such line after the first command.
    head, _, rest = text.partition("\nset -euo pipefail\n")
    assert "#SBATCH" in head
    assert "#SBATCH" not in rest
    return dict(given)


def test_slurm_knows_every_option_of_the_script() -> None:
    options = sbatch_options(text_of("slurm/editmill.sbatch"))
    # One Ray a node, on nodes that nobody shares: symmetric-run ends every Ray there.
    assert options["ntasks-per-node"] == "1"
    assert "exclusive" in options
    # To the script alone, which tells the driver alone.
    assert options["signal"] == "B:TERM@180"


def test_a_wrong_option_for_slurm_is_found() -> None:
    text = text_of("slurm/editmill.sbatch")
    with pytest.raises(AssertionError, match="gpu-per-node"):
        sbatch_options(text.replace("--gpus-per-node", "--gpu-per-node"))


def test_rays_own_command_line_takes_what_the_script_says(slurm: Slurm) -> None:
    assert slurm.run() == (0, "")
    (call,) = slurm.programs.calls("ray")
    own, for_start, command = symmetric_options(call)
    assert own["address"] == "node-a:24711"
    assert own["min_nodes"] == 2
    assert for_start["num_cpus"] == 32
    assert for_start["dashboard_host"] == "127.0.0.1"
    assert command[0] == "bash"
    for spoilt in ("--num-cpu=32", "--dashboard-hosts=x"):
        with pytest.raises(click.UsageError, match="No such option"):
            symmetric_options([*call[:2], spoilt, *call[2:]])
    # What symmetric-run sets itself, it refuses.
    with pytest.raises(click.ClickException, match="--head"):
        symmetric_options([*call[:2], "--head", *call[2:]])


def test_srun_starts_one_ray_on_each_node_and_waits_for_the_verb(slurm: Slurm) -> None:
    slurm.run()
    (call,) = slurm.programs.calls("srun")
    words = call[1 : call.index("bash")]
    options = dict(re.fullmatch(r"--([a-z-]+)(?:=(\d+))?", word).groups() for word in words)  # type: ignore[union-attr]
    assert set(options) <= SRUN
    assert options["nodes"] == options["ntasks"] == "2"
    # Otherwise the first node that is lost takes the others with it.
    assert (options["wait"], options["kill-on-bad-exit"]) == ("0", "0")


def test_the_verb_runs_with_its_words_as_a_driver_of_this_ray(slurm: Slurm) -> None:
    slurm.run()
    _, verb = slurm.programs.calls("python")
    assert verb == ["python", "-m", "editmill", "generate", "--out", "a b"]
    assert slurm.programs.calls("driver") == [["driver", "node-a:24711", ""]]


def test_the_other_nodes_wait_until_the_head_answers(slurm: Slurm) -> None:
    with socket.socket() as probe:
        # The script makes a port of the job's number.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 24711))
        other = slurm.variables(SLURM_NODEID="1", STUB_NODES="127.0.0.1", STUB_RAY_FAILS="1")
        job = slurm.programs.begin(slurm.script, "generate", **other)
        slurm.programs.wait_for("srun")
        time.sleep(1)
        assert slurm.programs.calls("ray") == []
        probe.listen()
        assert slurm.programs.wait_for("ray")[:2] == ["ray", "symmetric-run"]
        job.communicate(timeout=30)


def test_the_other_nodes_do_not_wait_for_ever(slurm: Slurm) -> None:
    other = {"SLURM_NODEID": "1", "STUB_NODES": "127.0.0.1"}
    code, _ = slurm.run(**other, RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="1")
    assert code == 3
    assert slurm.programs.calls("ray") == []


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
def test_the_job_ends_with_the_verbs_own_exit_code(slurm: Slurm, code: int) -> None:
    assert slurm.run(STUB_CODE=str(code))[0] == code


def test_a_driver_that_was_killed_may_be_submitted_again(slurm: Slurm) -> None:
    assert slurm.run(STUB_KILLED="1")[0] == 3


def test_a_ray_that_did_not_start_is_no_success(slurm: Slurm) -> None:
    code, said = slurm.run(STUB_RAY_FAILS="1")
    assert code == 3
    assert said == "editmill: Ray did not start on all nodes; submit again\n"


def test_a_notice_reaches_the_verb_alone_which_ends_in_order(slurm: Slurm) -> None:
    job = slurm.programs.begin(slurm.script, "generate", **slurm.variables(STUB_WAITS="1"))
    slurm.programs.wait_for("driver")
    job.send_signal(signal.SIGTERM)
    said, _ = job.communicate(timeout=30)
    assert said == "drained\n"
    assert job.returncode == 3


def test_the_token_is_this_jobs_own_and_gone_with_it(slurm: Slurm) -> None:
    slurm.run()
    mode, auth, path, length = slurm.seen.read_text().split()
    assert (mode, auth, int(length)) == ("0o600", "token", 64)
    assert Path(path).is_relative_to(slurm.home)
    assert list(slurm.home.iterdir()) == []
    # In no command that Slurm or the nodes show.
    for program in ("srun", "ray", "python"):
        assert not any("f" * 64 in word for call in slurm.programs.calls(program) for word in call)


def test_keys_come_from_a_file_that_is_named(slurm: Slurm) -> None:
    secrets = slurm.home / "keys"
    secrets.write_text("AWS_ACCESS_KEY_ID=from-the-file\n")
    secrets.chmod(stat.S_IRUSR)
    slurm.run(EDITMILL_SECRETS=str(secrets))
    assert slurm.programs.calls("driver") == [["driver", "node-a:24711", "from-the-file"]]
