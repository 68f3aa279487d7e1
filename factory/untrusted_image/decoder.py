"""Decode images that strangers made, in a child process that has little to lose.

A decoder is a large C library that parses whatever it is given. The child that runs it gets neither
keys nor descriptors, may open no file or socket, start no process and dump no core, and has so much
memory and time; what it sends back is a header of numbers and raw pixels. Linux is what this is
written for: on macOS the limit on memory does nothing, and Windows is not supported.
"""

import signal
import threading
import time
from dataclasses import dataclass
from enum import StrEnum

from PIL import features

from factory.errors import EditmillError
from factory.pictures import Picture
from factory.untrusted_image import child as script
from factory.untrusted_image.process import DEATH_S, Child

POINTER = b"version https://git-lfs"
"""How what stands in a file's place begins until git-lfs fetches it."""


class Reason(StrEnum):
    """Why an image was refused."""

    BYTES = "too many bytes"
    FORMAT = "not a JPEG, PNG or WEBP"
    PIXELS = "too many pixels"
    DAMAGED = "cut short or damaged"
    TIME = "took too long"
    MEMORY = "took too much memory"
    CRASHED = "ended its decoder"
    ANIMATED = "animated"


class ImageRefused(EditmillError):
    """An image that cannot or may not be decoded; the decoder is ready for the next."""

    def __init__(self, message: str, reason: Reason = Reason.DAMAGED) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class ImageLimits:
    """What one image may cost."""

    most_bytes: int = 32 * 2**20
    """Of the file, without what says nothing of pixels where it is larger."""
    most_pixels: int = 50_000_000
    """By its header, before anything is decoded."""
    memory_bytes: int = 3 * 2**29
    """Of the child's addresses, its Python and libraries (about 35 MiB) among them; 50 million pixels of a
    WEBP with alpha take 1.1 GiB."""
    cpu_s: float = 5.0
    """Rounded up to a whole second. With a profile 50 million pixels of CMYK take about 6 s."""
    wall_s: float = 30.0
    """Longer than `cpu_s`, because a machine may be busy."""
    images: int = 10_000
    """A child is replaced after so many, so that nothing it keeps can grow."""


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """A picture as its viewers see it, and what its file was."""

    picture: Picture
    """Upright, in sRGB."""
    format: str
    """JPEG, PNG or WEBP."""
    had_alpha: bool
    """Something transparent, which was laid over white."""
    had_profile: bool
    """An ICC profile by which its colours were converted."""


class ImageDecoder:
    """JPEG, PNG or WEBP to RGB by one long-lived child, which the first image starts.

    A child that died or was late is replaced at the next image. Threads may share a decoder, one
    image at a time. `close` ends the child.

    What becomes of the kinds of images: EXIF orientation is applied. Alpha and transparent palette
    entries are laid over white. 16 bits per channel keep their high byte (a 16-bit grey's transparent
    value is ignored). Metadata is ignored, also where it is damaged or large.

    In two things the methods differ. `decode`: of animations the first frame counts, and all ICC profiles
    are ignored (CMYK and YCCK are converted without theirs). `open`: animations are refused (an MPO is its
    first picture), and RGB, grey, CMYK and YCCK are converted to sRGB by their profile, before alpha is
    laid over white; one that is broken or is of other colours than the picture counts as none.
    """

    def __init__(self, limits: ImageLimits | None = None) -> None:
        self.limits = limits or ImageLimits()
        self._child: Child | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    @property
    def pid(self) -> int | None:
        """The child's process; None while there is none."""
        return self._child.process.pid if self._child else None

    def decode(self, data: bytes, name: str = "image") -> Picture:
        """One image; `name` is what errors call it.

        Raises `ImageRefused` with its reason, and `EditmillError` where no child can be started.
        """
        picture, _ = self._ask(data, name, opens=False)
        return picture

    def open(self, data: bytes, name: str = "image") -> OpenedImage:
        """One image that is no animation, in sRGB. Raises as `decode`."""
        if not features.check("littlecms2"):
            raise EditmillError("Pillow: must be built with littlecms to read profiles, got none")
        picture, had = self._ask(data, name, opens=True)
        alpha, profile = bool(had & script.ALPHA), bool(had & script.PROFILE)
        return OpenedImage(picture, script.format_of(data), alpha, profile)

    def _ask(self, data: bytes, name: str, opens: bool) -> tuple[Picture, int]:
        """The picture, and what it had."""
        whole = len(data)
        if whole > self.limits.most_bytes:
            data = script.without_metadata(data, script.OPENED if opens else script.DECODED)
        if len(data) > self.limits.most_bytes:
            raise ImageRefused(
                f"{name}: must be at most {self.limits.most_bytes} bytes, got {whole}",
                Reason.BYTES,
            )
        with self._lock:
            child = self._ready()
            until = time.monotonic() + self.limits.wall_s
            try:
                outcome, had, width, height = child.ask(data, opens, until)
                if outcome == script.PICTURE:
                    return child.picture(width, height, until), had
            except TimeoutError:
                self._end()
                raise self._refused(name, Reason.TIME, "no picture") from None
            except EOFError as error:
                reason = self._cause_of_death()
                raise self._refused(name, reason, str(error) or "an end without a reply") from None
            except BaseException:
                # Half of a reply may be left in the pipe.
                self._end()
                raise
        reason = {
            script.FORMAT: Reason.FORMAT,
            script.PIXELS: Reason.PIXELS,
            script.MEMORY: Reason.MEMORY,
            script.ANIMATED: Reason.ANIMATED,
        }.get(outcome, Reason.DAMAGED)
        got = {
            Reason.FORMAT: f"a git-lfs pointer of {len(data)} bytes; run git lfs pull"
            if data.startswith(POINTER)
            else repr(data[:8]),
            Reason.PIXELS: f"{width} x {height}",
            Reason.ANIMATED: f"{width} frames",
        }.get(reason, f"{len(data)} bytes that do not")
        raise self._refused(name, reason, got)

    def _refused(self, name: str, reason: Reason, got: str) -> ImageRefused:
        limits = self.limits
        rule = {
            Reason.FORMAT: "begin as a JPEG, PNG or WEBP",
            Reason.PIXELS: f"have at most {limits.most_pixels} pixels",
            Reason.DAMAGED: "decode as a whole image",
            Reason.TIME: f"decode within {limits.cpu_s:g} s ({limits.wall_s:g} s on a busy machine)",
            Reason.MEMORY: f"decode in {limits.memory_bytes} bytes of memory",
            Reason.ANIMATED: "be a still picture",
        }.get(reason, "decode without harm to its decoder")
        return ImageRefused(f"{name}: must {rule}, got {got}", reason)

    def _ready(self) -> Child:
        """The child, or a new one where it is gone or has done its share."""
        child = self._child
        if child and (child.process.poll() is not None or child.asked >= self.limits.images):
            self._end()
        if self._child is None:
            self._child = Child(
                self.limits.most_pixels, self.limits.memory_bytes, self.limits.cpu_s
            )
        return self._child

    def _end(self, patience_s: float = 0.0) -> int | None:
        child, self._child = self._child, None
        return child.end(patience_s) if child else None

    def _cause_of_death(self) -> Reason:
        # One that is dying by itself says why.
        code = self._end(DEATH_S)
        if code == -signal.SIGXCPU:
            return Reason.TIME
        # The kernel kills where the machine itself has no memory left.
        if code in (-signal.SIGKILL, script.OUT_OF_MEMORY):
            return Reason.MEMORY
        return Reason.CRASHED
