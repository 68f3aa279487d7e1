"""A real Slurm of two nodes on one machine, from Debian's packages, that nobody outside it notices.

Each node has namespaces of its own: processes, since `ray symmetric-run` ends every Ray that it sees; a
network, since it tells the head by its address; mounts, for /tmp and /dev/shm; a host's name. The two
networks are joined by a cable, and lead nowhere else. Root's rights are needed.
"""

import os
import subprocess
import time
from pathlib import Path

from tests.environment import python_path
from tests.servers.ceph import unpack_packages
from tests.servers.processes import ServerFailed, cache_folder, finish

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "iproute2")
NODES = {"node-a": "10.77.0.1", "node-b": "10.77.0.2"}
LIBRARIES = "usr/lib/x86_64-linux-gnu"

CONFIGURATION = """
ClusterName=site
SlurmctldHost=node-a
SlurmUser=root
AuthType=auth/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PluginDir={plugins}
StateSaveLocation=/run/slurm-state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
ReturnToService=2
KillWait=30
NodeName=node-a,node-b CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP MaxTime=INFINITE
"""

# A node's first process: what is its own, then Slurm's daemon in the foreground.
BOOT = """
set -eu
hostname "$NODE"
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir /run/slurm-state /run/slurmd
mount --bind "$SITE/hosts" /etc/hosts
mount --bind "$SITE/ray-$NODE" /tmp/ray
ip link set lo up
until ip link show cable > /dev/null 2>&1; do sleep 0.1; done
ip address add "$ADDRESS/24" dev cable
ip link set cable up
ip route add default via "$ADDRESS"
if [ "$NODE" = node-a ]; then slurmctld-wlm -D > "$SITE/slurmctld.log" 2>&1 & fi
exec slurmd-wlm -D -N "$NODE" -d "$STEPD"
"""


class SlurmSite:
    """Started by `up`, and ended with all that runs on it by `down`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        """At the same place on every node, as a shared file system has it."""
        self._first: dict[str, subprocess.Popen[bytes]] = {}
        programs = unpack_packages(cache_folder("SLURM"), PACKAGES)
        plugins = programs / LIBRARIES / "slurm-wlm"
        self._programs = programs
        self.home.mkdir()
        for node in NODES:
            (folder / f"ray-{node}").mkdir()
        hosts = ["127.0.0.1 localhost", *(f"{address} {node}" for node, address in NODES.items())]
        (folder / "hosts").write_text("\n".join(hosts) + "\n")
        (folder / "slurm.conf").write_text(CONFIGURATION.format(plugins=plugins))
        paths = [f"{programs}/{name}" for name in ("usr/sbin", "usr/bin", "sbin", "bin")]
        self.environment = {
            "PATH": os.pathsep.join([*paths, "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
            "LD_LIBRARY_PATH": os.pathsep.join([f"{programs}/{LIBRARIES}", str(plugins)]),
            "SLURM_CONF": str(folder / "slurm.conf"),
            "HOME": str(self.home),
            "PYTHONPATH": python_path(),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }

    def up(self) -> None:
        # Where Ray of each node finds a folder of its own.
        Path("/tmp/ray").mkdir(mode=0o777, exist_ok=True)
        for node, address in NODES.items():
            variables = {
                "NODE": node,
                "ADDRESS": address,
                "SITE": str(self.folder),
                "STEPD": str(self._programs / "usr/sbin/slurmstepd-wlm"),
            }
            with (self.folder / f"{node}.log").open("wb") as log:
                self._first[node] = subprocess.Popen(
                    ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork"]
                    + ["--kill-child", "--mount-proc", "bash", "-c", BOOT],
                    env=self.environment | variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        inside = [self._inside(node) for node in NODES]
        ends = [f"em{os.getpid()}{end}" for end in "ab"]
        self._ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for end, pid in zip(ends, inside, strict=True):
            self._ip("link", "set", end, "netns", str(pid), "name", "cable")
        self._wait_until_idle()

    def down(self) -> None:
        for process in self._first.values():
            process.kill()
            process.wait()

    def run(self, *words: str, seconds: float = 60, **variables: str) -> str:
        """A command on the first node, as at its shell."""
        process = self._first["node-a"]
        assert process.poll() is None, (self.folder / "node-a.log").read_text()
        return finish(
            ["nsenter", "-t", str(self._inside("node-a")), "-m", "-p", "-n", "-u", "-i", *words],
            seconds,
            self.environment | variables,
        )

    def state(self, job: str) -> str:
        shown = self.run("scontrol", "show", "job", job)
        return shown.partition("JobState=")[2].split()[0]

    def exit_code(self, job: str, seconds: float) -> int:
        """Waits until the job has ended."""
        until = time.monotonic() + seconds
        while self.state(job) in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            assert time.monotonic() < until, self.log(job)
            time.sleep(1)
        shown = self.run("scontrol", "show", "job", job)
        return int(shown.partition("ExitCode=")[2].split(":")[0])

    def log(self, job: str) -> str:
        path = self.home / f"editmill-{job}.log"
        return path.read_text() if path.exists() else ""

    def submit(self, script: Path, *words: str) -> str:
        """The job's number."""
        options = ["--nodes=2", "--cpus-per-task=2", "--partition=main"]
        said = self.run(
            "sbatch", "--parsable", f"--chdir={self.home}", *options, str(script), *words
        )
        return said.strip()

    def _inside(self, node: str) -> int:
        """The number, as it is seen from here, of a node's first process."""
        parent = self._first[node].pid
        until = time.monotonic() + 10
        while time.monotonic() < until:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.05)
        raise AssertionError((self.folder / f"{node}.log").read_text())

    def _ip(self, *words: str) -> None:
        finish(["ip", *words], 10, self.environment)

    def _wait_until_idle(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not any(p.poll() for p in self._first.values()):
            try:
                if self.run("sinfo", "--noheader", "--format=%T %D").split() == ["idle", "2"]:
                    return
            except ServerFailed:  # the controller is not there yet
                pass
            time.sleep(1)
        logs = [path.read_text()[-3000:] for path in self.folder.glob("*.log")]
        raise AssertionError("\n".join(logs))
