"""The decoder's child: what it is given, what it may do, and what its end means for the parent."""

import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from PIL import Image

from factory.errors import EditmillError
from factory.untrusted_image import process
from factory.untrusted_image.decoder import ImageDecoder, ImageLimits, ImageRefused, Reason
from tests.security.images import encoded, ordinary, pixels, png, zeros

ROOT = Path(__file__).parents[2]
KEYS = {
    "AWS_ACCESS_KEY_ID": "canary-1",
    "AWS_SECRET_ACCESS_KEY": "canary-2",
    "HF_TOKEN": "canary-3",
    "OPENAI_API_KEY": "canary-4",
    "MY_SECRET": "canary-5",
    "RAY_AUTH_TOKEN": "canary-6",
}
# A child in the place of the real one, which does what a taken-over one might.
CROOKED = """
import os, signal, struct, sys, time
REPLY = struct.Struct("<4sBBII")
def say(outcome, width=0, height=0, mark=b"\\x00img"):
    os.write(1, REPLY.pack(mark, outcome, 0, width, height))
say(0)
os.read(0, 2**20)
{act}
time.sleep(60)
"""


@pytest.fixture
def decoder():
    with closing(ImageDecoder()) as one:
        yield one


def reason_of(decoder, data=None):
    with pytest.raises(ImageRefused) as refused:
        decoder.decode(data or ordinary("PNG"))
    return refused.value.reason


def works(decoder):
    return bool((decoder.decode(ordinary("PNG")) == pixels()).all())


def test_the_child_inherits_no_keys_and_no_descriptors(decoder, monkeypatch, tmp_path):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "open").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        assert works(decoder)
        child = Path(f"/proc/{decoder.pid}")
        assert b"canary" not in (child / "environ").read_bytes()
        assert b"canary" not in (child / "cmdline").read_bytes()
        targets = {entry.name: os.readlink(entry) for entry in (child / "fd").iterdir()}
        os.set_inheritable(held.fileno(), False)
    assert sorted(targets) == ["0", "1", "2"]
    assert targets["0"].startswith("pipe:")
    assert targets["1"].startswith("pipe:")
    assert targets["2"] == "/dev/null"
    assert os.readlink(child / "cwd") == "/"


def test_the_child_may_open_nothing_start_nothing_and_dump_nothing(decoder):
    assert works(decoder)
    for name, most in {
        "RLIMIT_NOFILE": 3,
        "RLIMIT_NPROC": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_AS": decoder.limits.memory_bytes,
    }.items():
        assert resource.prlimit(decoder.pid, getattr(resource, name)) == (most, most), name
    soft, _ = resource.prlimit(decoder.pid, resource.RLIMIT_CPU)
    assert 0 < soft < 60


def test_one_child_decodes_many_and_neither_it_nor_the_parent_grows(decoder):
    data = encoded(Image.new("RGB", (600, 600)), "JPEG")
    decoder.decode(data)
    first = decoder.pid
    here, there = psutil.Process(), psutil.Process(first)
    for _ in range(20):
        decoder.decode(data)
    before = here.memory_info().rss, there.memory_info().rss
    for _ in range(150):
        decoder.decode(data)
    assert decoder.pid == first
    for now, then in zip((here, there), before, strict=True):
        assert now.memory_info().rss < then + 20 * 2**20


def test_a_refused_bomb_costs_the_parent_nothing(decoder):
    assert works(decoder)
    before = psutil.Process().memory_info().rss
    bomb = png(30000, 30000, (b"IDAT", zeros(2**20)))
    assert reason_of(decoder, bomb) == Reason.PIXELS
    assert psutil.Process().memory_info().rss < before + 20 * 2**20


def test_a_child_is_replaced_after_its_share():
    with closing(ImageDecoder(ImageLimits(images=2))) as decoder:
        pids = []
        for _ in range(4):
            assert works(decoder)
            pids.append(decoder.pid)
    assert pids[0] == pids[1]
    assert pids[1] != pids[2] == pids[3]


def test_a_child_that_stops_is_ended_in_time_and_replaced():
    with closing(ImageDecoder(ImageLimits(wall_s=0.5))) as decoder:
        while decoder.pid is None:  # a busy machine may be late with the first picture, too
            try:
                works(decoder)
            except ImageRefused:
                continue
        stopped = psutil.Process(decoder.pid)
        stopped.send_signal(signal.SIGSTOP)
        # More than a pipe holds, so that the request hangs half-way.
        assert reason_of(decoder, ordinary("PNG") + bytes(2**20)) == Reason.TIME
        assert not stopped.is_running()
        assert decoder.pid is None


def test_a_child_that_was_killed_between_two_images_is_nobodys_fault(decoder):
    assert works(decoder)
    gone = decoder.pid
    os.kill(gone, signal.SIGKILL)
    while psutil.pid_exists(gone) and psutil.Process(gone).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert works(decoder)
    assert decoder.pid != gone


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", Reason.CRASHED),
        ("os.kill(os.getpid(), signal.SIGKILL)", Reason.MEMORY),
        ("os.kill(os.getpid(), signal.SIGXCPU)", Reason.TIME),
        ("os._exit(9)", Reason.MEMORY),
        ("os._exit(0)", Reason.CRASHED),
        ("say(1, 2**31, 2**31)", Reason.CRASHED),
        ("say(1, 0, 7)", Reason.CRASHED),
        ("say(1, 2, 2); os._exit(0)", Reason.CRASHED),
        ("say(1, 2, 2, b'evil')", Reason.CRASHED),
        ("say(77)", Reason.DAMAGED),
        ("os.write(1, b'\\x80\\x04cposix\\nsystem\\n(S\\'true\\'\\ntR.')", Reason.CRASHED),
    ],
)
def test_a_child_that_dies_or_lies_is_believed_nothing(monkeypatch, tmp_path, act, reason):
    script = tmp_path / "crooked.py"
    script.write_text(CROOKED.format(act=act))
    with closing(ImageDecoder(ImageLimits(memory_bytes=2**33))) as decoder:
        monkeypatch.setattr(process.script, "__file__", str(script))
        monkeypatch.setattr(process, "DEATH_S", 0.3)
        monkeypatch.setattr("factory.untrusted_image.decoder.DEATH_S", 0.3)
        assert reason_of(decoder) == reason
        monkeypatch.undo()
        decoder.close()
        assert works(decoder)


def test_a_child_that_cannot_start_is_no_fault_of_the_image(monkeypatch, tmp_path, decoder):
    monkeypatch.setattr(process.script, "__file__", str(tmp_path / "gone.py"))
    with pytest.raises(
        EditmillError, match=r"the image decoder did not start: .*exit code 2"
    ) as no:
        works(decoder)
    assert not isinstance(no.value, ImageRefused)


def test_a_refusal_keeps_its_reason_between_processes(decoder):
    with pytest.raises(ImageRefused) as refused:
        decoder.decode(b"not an image")
    back = pickle.loads(pickle.dumps(refused.value))
    assert (back.reason, str(back)) == (Reason.FORMAT, str(refused.value))


def test_threads_share_a_decoder(decoder):
    found = []

    def decode(shade):
        data = encoded(Image.new("RGB", (300, 300), (shade, 0, 0)), "PNG")
        found.extend((shade, int(decoder.decode(data)[5, 5, 0])) for _ in range(10))

    threads = [threading.Thread(target=decode, args=(shade,)) for shade in (10, 20, 30, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert all(asked == got for asked, got in found)


def test_close_ends_the_child_and_the_decoder_can_go_on(decoder):
    assert works(decoder)
    child = psutil.Process(decoder.pid)
    decoder.close()
    assert not child.is_running()
    assert works(decoder)


def test_the_child_ends_with_its_parent():
    code = (
        "import os; from factory.untrusted_image.decoder import ImageDecoder; "
        "from tests.security.images import ordinary; d = ImageDecoder(); "
        "d.decode(ordinary('PNG')); print(d.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).wait(timeout=30)


def test_import_starts_nothing_and_needs_neither_torch_nor_ray():
    code = (
        "import sys, psutil, factory.untrusted_image.decoder as d; d.ImageDecoder(); "
        "print(len(psutil.Process().children()), [n for n in ('torch', 'ray') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "0 []", done.stderr
