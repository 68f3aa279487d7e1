"""A real S3 server for tests: Ceph's RADOS gateway, unpacked from Debian's packages.

    python tests/servers/ceph.py up --root DIR [--shell]     start, or start again after `down`
    python tests/servers/ceph.py down --root DIR [--kill]    end it; --kill sends SIGKILL (a crash)

One monitor, one object server and one gateway on 127.0.0.1, on ports that were free, so that
several clusters can live side by side. Nothing but DIR and the package cache is written.
"""

import fcntl
import os
import secrets
import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.servers.processes import (  # noqa: E402
    Server,
    ServerFailed,
    cache_folder,
    command_line,
    finish,
    free_ports,
)

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")

TEMPLATE = Path(__file__).with_name("ceph.conf.template")


def unpack_packages(cache: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """The folder with the programs; fetched from Debian's mirrors the first time (Ceph's are 70 MB)."""
    ready = cache / "unpacked"
    if ready.is_dir():
        return ready
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise ServerFailed(
                f"{program}: {packages[0]} comes from Debian's packages, and this is not there"
            )
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.is_dir():
            return ready
        try:
            archives = download(cache, packages)
        except ServerFailed:
            # Package lists that are missing or older than the mirror.
            if os.geteuid() != 0:
                raise
            finish(["apt-get", "update"], 300)
            archives = download(cache, packages)
        partial = cache / "unpacked.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for archive in archives:
            finish(["dpkg", "-x", str(archive), str(partial)], 120)
        partial.rename(ready)
        shutil.rmtree(cache / "archives")
    return ready


def download(cache: Path, packages: Sequence[str]) -> list[Path]:
    simulated = finish(
        ["apt-get", "install", "--simulate", "--yes", "--no-install-recommends", *packages], 120
    )
    names = [line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")]
    folder = cache / "archives"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # As root, apt would fetch as a user who may not be able to write to the cache.
    finish(["apt-get", "download", "-o", "APT::Sandbox::User=root", *names], 900, cwd=folder)
    return sorted(folder.glob("*.deb"))


class Cluster(Server):
    """One Ceph in a folder."""

    name = "CEPH"
    programs = ("mon", "osd", "gateway")

    def configuration(self, program: str) -> Path:
        return self.root / "ceph.conf"

    def up(self) -> None:
        """Start what is not running and wait until the gateway answers."""
        programs = unpack_packages(cache_folder("CEPH"))
        self.environment = environment_for(programs, self.root)
        conf = ["-c", str(self.root / "ceph.conf")]
        fresh = not self.state.get("complete")
        if fresh:
            self.prepare(programs)
        self.start("mon", ["ceph-mon", "-f", "-i", "a", *conf])
        if fresh:
            self.add_osd(programs)
        self.start("osd", ["ceph-osd", "-f", "-i", "0", *conf])
        # The first command also waits for the object server: the user is stored there.
        if fresh:
            keys = [f"--{name}={self.state[name]}" for name in ("access_key", "secret_key")]
            user = ["user", "create", "--uid=editmill", "--display-name=editmill", *keys]
            self.command(["radosgw-admin", *user], 120)
        self.start("gateway", ["radosgw", "-f", "-n", "client.rgw", *conf])
        self.wait(self.answers, 120)
        self.state["complete"] = True
        self.write()

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
        program = [str(interpreter), str(programs / "usr/bin/ceph"), "--connect-timeout", "60"]

        def monitor_takes_commands() -> bool:
            try:
                self.command([*program, "mon", "stat"], 90)
            except ServerFailed as error:
                # What one says that has let us in and is not yet done with its own start.
                if "problem getting command descriptions" not in str(error):
                    raise
                return False
            return True

        self.wait(monitor_takes_commands, 120)
        ceph = [*program, "osd"]
        self.command([*ceph, "new", identity, "0"], 90)
        self.command([*ceph, "crush", "add", "osd.0", "1.0", "root=default", "host=here"], 90)
        self.command(["ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity], 120)


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


if __name__ == "__main__":
    sys.exit(command_line(Cluster, "Start or end a Ceph gateway for tests."))
