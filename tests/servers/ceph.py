"""A real S3 server for tests: Ceph's RADOS gateway, unpacked from Debian's packages.

    python tests/servers/ceph.py up --root DIR [--shell]     start, or start again after `down`
    python tests/servers/ceph.py down --root DIR [--kill]    end it; --kill sends SIGKILL (a crash)

One monitor, one object server and one gateway on 127.0.0.1, on ports that were free, so that
several clusters can live side by side. Nothing but DIR and the package cache is written.
"""

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")

TEMPLATE = Path(__file__).with_name("ceph.conf.template")


class CephFailed(Exception):
    """Ceph could not be fetched, started or ended."""


def cache_folder() -> Path:
    """Where the packages are kept: EDITMILL_CEPH_CACHE, else ~/.cache/editmill/ceph."""
    named = os.environ.get("EDITMILL_CEPH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "editmill" / "ceph"


def unpack_packages(cache: Path) -> Path:
    """The folder with Ceph's programs; fetched from Debian's mirrors the first time (70 MB)."""
    ready = cache / "unpacked"
    if ready.is_dir():
        return ready
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise CephFailed(f"{program}: Ceph comes from Debian's packages, and this is not there")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.is_dir():
            return ready
        try:
            archives = download(cache)
        except CephFailed:
            # Package lists that are missing or older than the mirror.
            if os.geteuid() != 0:
                raise
            finish(["apt-get", "update"], 300)
            archives = download(cache)
        partial = cache / "unpacked.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for archive in archives:
            finish(["dpkg", "-x", str(archive), str(partial)], 120)
        partial.rename(ready)
        shutil.rmtree(cache / "archives")
    return ready


def download(cache: Path) -> list[Path]:
    simulated = finish(
        ["apt-get", "install", "--simulate", "--yes", "--no-install-recommends", *PACKAGES], 120
    )
    names = [line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")]
    folder = cache / "archives"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # As root, apt would fetch as a user who may not be able to write to the cache.
    finish(["apt-get", "download", "-o", "APT::Sandbox::User=root", *names], 900, cwd=folder)
    return sorted(folder.glob("*.deb"))


def finish(
    command: list[str],
    seconds: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """The standard output of a command that must end well."""
    try:
        done = subprocess.run(
            command,
            timeout=seconds,
            env=environment,
            cwd=cwd,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CephFailed(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise CephFailed(f"{' '.join(command[:3])}: ended with {done.returncode}: {done.stderr}")
    return done.stdout


class Cluster:
    """One Ceph in a folder; its ports, keys and process ids are in `cluster.json` there."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.record = self.root / "cluster.json"
        self.state: dict[str, Any] = {}
        if self.record.exists():
            self.state = json.loads(self.record.read_text())

    @property
    def access(self) -> dict[str, str]:
        """The endpoint and the keys, under the names the tests read from the environment."""
        return {
            "EDITMILL_CEPH_ENDPOINT": f"http://127.0.0.1:{self.state['gateway_port']}",
            "EDITMILL_CEPH_ACCESS_KEY": self.state["access_key"],
            "EDITMILL_CEPH_SECRET_KEY": self.state["secret_key"],
        }

    def up(self) -> None:
        """Start what is not running and wait until the gateway answers."""
        programs = unpack_packages(cache_folder())
        self.environment = environment_for(programs, self.root)
        fresh = not self.state.get("complete")
        if fresh:
            self.prepare(programs)
        self.start("mon", ["ceph-mon", "-f", "-i", "a"])
        if fresh:
            self.add_osd(programs)
        self.start("osd", ["ceph-osd", "-f", "-i", "0"])
        # The first command also waits for the object server: the user is stored there.
        if fresh:
            keys = [f"--{name}={self.state[name]}" for name in ("access_key", "secret_key")]
            user = ["user", "create", "--uid=editmill", "--display-name=editmill", *keys]
            self.command(["radosgw-admin", *user], 120)
        self.start("gateway", ["radosgw", "-f", "-n", "client.rgw"])
        self.wait(self.answers, 120)
        self.state["complete"] = True
        self.write()

    def write(self) -> None:
        self.record.touch(mode=0o600)
        self.record.write_text(json.dumps(self.state))

    def prepare(self, programs: Path) -> None:
        self.down(kill=True)
        shutil.rmtree(self.root, ignore_errors=True)
        for folder in ("mon", "osd", "log"):
            (self.root / folder).mkdir(parents=True)
        mon_port, gateway_port = free_ports(2)
        fsid = str(uuid.uuid4())
        libraries = next((programs / "usr" / "lib").glob("*-linux-gnu"))
        (self.root / "ceph.conf").write_text(
            TEMPLATE.read_text().format(
                fsid=fsid,
                root=self.root,
                libraries=libraries,
                mon_port=mon_port,
                gateway_port=gateway_port,
            )
        )
        self.state = {
            "gateway_port": gateway_port,
            "access_key": secrets.token_hex(10),
            "secret_key": secrets.token_hex(20),
            "pids": {},
        }
        ring, plan = str(self.root / "keyring"), str(self.root / "monmap")
        allowed = ["--gen-key", "-n", "mon.", "--cap", "mon", "allow *"]
        self.command(["ceph-authtool", "--create-keyring", ring, *allowed], 60)
        address = ["--addv", "a", f"[v1:127.0.0.1:{mon_port}]", "--fsid", fsid]
        self.command(["monmaptool", "--create", "--clobber", *address, plan], 60)
        self.command(["ceph-mon", "--mkfs", "-i", "a", "--monmap", plan, "--keyring", ring], 60)

    def add_osd(self, programs: Path) -> None:
        identity = str(uuid.uuid4())
        # Debian's Python, since Ceph's bindings are built for it; its own copy where it is absent.
        python = Path("/usr/bin/python3")
        interpreter = python if python.exists() else programs / "usr/bin/python3"
        ceph = [str(interpreter), str(programs / "usr/bin/ceph"), "--connect-timeout", "60", "osd"]
        self.command([*ceph, "new", identity, "0"], 90)
        self.command([*ceph, "crush", "add", "osd.0", "1.0", "root=default", "host=here"], 90)
        self.command(["ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity], 120)

    def command(self, words: list[str], seconds: float) -> str:
        try:
            return finish(words, seconds, self.environment)
        except CephFailed as error:
            raise CephFailed(f"{error}\n{self.output()}") from error

    def output(self) -> str:
        """The last words of every process."""
        logs = sorted((self.root / "log").glob("*.out"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1000:]}" for log in logs)

    def start(self, name: str, command: list[str]) -> None:
        if self.alive(name):
            return
        with (self.root / "log" / f"{name}.out").open("ab") as output:
            process = subprocess.Popen(
                [*command, "-c", str(self.root / "ceph.conf")],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.state["pids"][name] = process.pid
        self.write()

    def alive(self, name: str) -> bool:
        """Whether that process runs and is ours: a process id may have been given away again."""
        pid = self.state.get("pids", {}).get(name)
        if pid is None:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        # A process that has only just begun has no words yet; nor has one that has ended.
        return str(self.root / "ceph.conf").encode() in words or (words == [b""] and state != "Z")

    def answers(self) -> bool:
        """Whether the gateway serves."""
        for name in self.state["pids"]:
            if not self.alive(name):
                raise CephFailed(f"{self.root}: {name} ended while starting\n{self.output()}")
        try:
            urllib.request.urlopen(self.access["EDITMILL_CEPH_ENDPOINT"], timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise CephFailed(f"{self.root}: not so within {seconds} s: {condition.__name__}")
            time.sleep(0.1)

    def down(self, kill: bool = False) -> None:
        """End the processes that are ours; `kill` gives them no chance to tidy up."""
        for name in ("gateway", "osd", "mon"):
            for end in [signal.SIGKILL] if kill else [signal.SIGTERM, signal.SIGKILL]:
                if self.alive(name):
                    os.kill(self.state["pids"][name], end)
                    try:
                        self.wait(lambda name=name: not self.alive(name), 20)  # type: ignore[misc]
                    except CephFailed:
                        continue


def environment_for(programs: Path, root: Path) -> dict[str, str]:
    usr = programs / "usr"
    folders = [*usr.glob("lib/*-linux-gnu"), *programs.glob("lib/*-linux-gnu")]
    folders += [folder / "ceph" for folder in folders]
    return {
        "PATH": f"{usr / 'bin'}:{usr / 'sbin'}:{os.environ.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": ":".join(str(folder) for folder in folders),
        "PYTHONPATH": str(usr / "lib/python3/dist-packages"),
        "CEPH_CONF": str(root / "ceph.conf"),
        "HOME": str(root),
    }


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Start or end a Ceph gateway for tests.")
    parser.add_argument("verb", choices=["up", "down"])
    parser.add_argument("--root", type=Path, required=True, help="the cluster's folder")
    parser.add_argument("--shell", action="store_true", help="print exports instead of JSON")
    parser.add_argument("--kill", action="store_true", help="down: SIGKILL, as in a crash")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.root)
    try:
        if arguments.verb == "down":
            cluster.down(kill=arguments.kill)
            return 0
        try:
            cluster.up()
        except BaseException:
            cluster.down()
            raise
    except CephFailed as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.shell:
        for name, value in cluster.access.items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        print(json.dumps(cluster.access))
    return 0


if __name__ == "__main__":
    sys.exit(main())
