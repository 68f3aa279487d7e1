"""A real S3 server that lets several conditional writers win: OpenStack Swift with s3api, from PyPI.

    python tests/servers/swift.py up --root DIR [--shell]     start, or start again after `down`
    python tests/servers/swift.py down --root DIR [--kill]    end it; --kill sends SIGKILL (a crash)

One replica, four processes on 127.0.0.1, on ports that were free. Swift lives in a virtual
environment of its own in the cache; nothing but DIR and that is written.
"""

import fcntl
import getpass
import secrets
import shutil
import subprocess
import sys
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

PACKAGES = ("swift==2.38.3", "eventlet==0.41.3", "pyeclib==1.8.0")
"""pyeclib's wheel brings liberasurecode, so that no compiler is needed."""

CLUSTER = """\
[swift-hash]
swift_hash_path_prefix = {prefix}
swift_hash_path_suffix = {suffix}
[storage-policy:0]
name = gold
default = yes
"""

# No workers beside the process itself: what is killed by its id leaves no child behind.
COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {root}/etc
workers = 0
user = {user}
log_level = WARNING
log_address = {root}/log/none
"""

# A listing shows a write at once only where the object server's word to the container server
# arrives in time: with the usual second it may not on a busy machine, and nobody repeats it here.
STORAGE = """\
devices = {root}/srv
mount_check = false
recon_cache_path = {root}/cache
fallocate_reserve = 0
disable_fallocate = true
container_update_timeout = 60
conn_timeout = 20
node_timeout = 60
[pipeline:main]
pipeline = {program}-server
[app:{program}-server]
use = egg:swift#{program}
lock_path = {root}/run
"""

GATEWAY = """\
[pipeline:main]
pipeline = catch_errors listing_formats s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 20
node_timeout = 60
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_{user} = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:symlink]
use = egg:swift#symlink
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
"""


def install(cache: Path) -> Path:
    """The folder with Swift's programs; fetched from PyPI the first time (80 MB)."""
    folder, ready = cache / "venv", cache / "ready"
    wanted = " ".join(PACKAGES)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists() or ready.read_text() != wanted:
            ready.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            finish([sys.executable, "-m", "venv", str(folder)], 120)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
            # No wheel means a compiler and C libraries, which are not asked for here.
            finish([*pip, "install", "--quiet", "--only-binary=pyeclib,lxml", *PACKAGES], 900)
            ready.write_text(wanted)
    return folder / "bin"


class Swift(Server):
    """One Swift in a folder."""

    name = "SWIFT"
    programs = ("account", "container", "object", "proxy")

    def configuration(self, program: str) -> Path:
        return self.root / "etc" / f"{program}-server.conf"

    def up(self) -> None:
        """Start what is not running and wait until the gateway answers."""
        bin_folder = install(cache_folder(self.name))
        if not self.state.get("complete"):
            self.prepare(bin_folder)
        for program in self.programs:
            server = str(bin_folder / f"swift-{program}-server")
            self.start(program, [server, str(self.configuration(program))])
        self.wait(self.answers, 120)
        self.state["complete"] = True
        self.write()

    def prepare(self, bin_folder: Path) -> None:
        self.down(kill=True)
        shutil.rmtree(self.root, ignore_errors=True)
        for folder in ("etc", "srv/sda", "run", "log", "cache"):
            (self.root / folder).mkdir(parents=True)
        ports = dict(zip(self.programs, free_ports(4), strict=True))
        self.state = {
            "gateway_port": ports["proxy"],
            "access_key": "test:tester",
            "secret_key": secrets.token_hex(20),
            "pids": {},
        }
        etc = self.root / "etc"
        salt = {name: secrets.token_hex(8) for name in ("prefix", "suffix")}
        (etc / "swift.conf").write_text(CLUSTER.format(**salt))
        for program, port in ports.items():
            about = {"root": self.root, "port": port, "program": program}
            text = COMMON.format(**about, user=getpass.getuser())
            if program == "proxy":
                text += GATEWAY.format(user="tester", secret=self.state["secret_key"])
            else:
                text += STORAGE.format(**about)
                self.make_ring(bin_folder, program, port)
            path = self.configuration(program)
            path.touch(mode=0o600)
            path.write_text(text)

    def make_ring(self, bin_folder: Path, program: str, port: int) -> None:
        """Where the objects of one kind lie: all on one device."""
        builder = [
            str(bin_folder / "swift-ring-builder"),
            str(self.root / "etc" / f"{program}.builder"),
        ]
        self.command([*builder, "create", "6", "1", "1"], 60)
        self.command([*builder, "add", f"r1z1-127.0.0.1:{port}/sda", "1"], 60)
        # Ends with 1, a warning: one device is no balance.
        subprocess.run([*builder, "rebalance"], check=False, capture_output=True, timeout=60)
        if not (self.root / "etc" / f"{program}.ring.gz").exists():
            raise ServerFailed(f"{self.root}: no ring of the {program} server was made")


if __name__ == "__main__":
    sys.exit(command_line(Swift, "Start or end a Swift gateway for tests."))
