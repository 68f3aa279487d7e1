"""A picture as it is opened for an edit: fetched, decoded in a confined child, and what is said of it."""

import hashlib
from dataclasses import dataclass
from typing import Any

from factory.edits.quality import Written, written
from factory.errors import ObjectMissing, StorageRefused, first_line
from factory.pictures import Picture
from factory.storage.patience import READS, check_answers, patiently
from factory.storage.protocol import ObjectStore
from factory.untrusted_image.decoder import ImageDecoder, ImageLimits, ImageRefused

MOST_BYTES = 2**26
"""Of a file that is read whole."""
MOST_PIXELS = ImageLimits().most_pixels
CPU_S = 10.0
"""50 million pixels of a printed picture with a profile take 6 on a slow machine."""
WALL_S = 300.0
"""So long that only the decoder's CPU time counts: a busy machine must not refuse what an idle one takes.
"""


@dataclass(frozen=True)
class Opened:
    """A picture that can be edited."""

    picture: Picture
    written: Written
    """How its file was."""
    facts: dict[str, Any]
    """What its outcome says of it."""


@dataclass(frozen=True)
class Unopened:
    """Why a picture cannot be."""

    reason: str
    facts: dict[str, Any]


class Opener:
    """Reads pictures below a place, in any thread; as many decoders as threads, which stay for the next."""

    def __init__(self, images: ObjectStore, most_pixels: int = MOST_PIXELS) -> None:
        self.images = images
        self.limits = ImageLimits(MOST_BYTES, most_pixels, cpu_s=CPU_S, wall_s=WALL_S)
        # Taken and put back whole by threads, which needs no lock.
        self._idle: list[ImageDecoder] = []

    def close(self) -> None:
        """End the decoders' children; no thread may be opening."""
        while self._idle:
            self._idle.pop().close()

    def open(self, key: str) -> Opened | Unopened:
        """What cannot be opened is read again: it may have been spoilt on its way.

        Raises `StorageError` where the place itself gives no answer, or none any more.
        """
        found, before = Unopened("", {}), None
        for _ in range(READS):
            data = self._read(key)
            if data == before or isinstance(data, Unopened):
                return data if isinstance(data, Unopened) else found
            opened = self._opened(data)
            if isinstance(opened, Opened):
                return opened
            found, before = opened, data
        return found

    def _read(self, key: str) -> bytes | Unopened:
        try:
            return patiently(lambda: self.images.get_part(key, 0, MOST_BYTES + 1))
        except ObjectMissing:
            return Unopened("no such picture", {})
        except StorageRefused as error:
            # Of one object among others, as one in an archive is; or of all of them, which ends the run.
            check_answers(self.images)
            return Unopened(f"cannot be read: {first_line(error)}", {})

    def _opened(self, data: bytes) -> Opened | Unopened:
        facts: dict[str, Any] = {"image_bytes": len(data)}
        if len(data) > MOST_BYTES:
            return Unopened(f"must have at most {MOST_BYTES} bytes, got more", {})
        if not data:
            return Unopened("must have at least one byte, got none", facts)
        facts["image_sha256"] = hashlib.sha256(data).hexdigest()
        return self.decode(data, facts)

    def decode(self, data: bytes, facts: dict[str, Any]) -> Opened | Unopened:
        """Bytes that were read."""
        try:
            decoder = self._idle.pop()
        except IndexError:
            decoder = ImageDecoder(self.limits)
        try:
            found = decoder.open(data)
        except ImageRefused as error:
            return Unopened(str(error).removeprefix("image: "), facts)
        finally:
            self._idle.append(decoder)
        height, width = found.picture.shape[:2]
        facts |= {"image_width": width, "image_height": height, "flattened": found.had_alpha}
        return Opened(found.picture, written(data, found.format), facts)
