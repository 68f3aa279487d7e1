"""A dataset's pictures to pixels, in children that have little to lose: for the threads of one reader."""

from factory.dataset.pairs import EditPair
from factory.dataset.picture_columns import no_bytes
from factory.pictures import Picture
from factory.untrusted_image.decoder import ImageDecoder, ImageLimits, ImageRefused

LIMITS = ImageLimits(wall_s=300.0)
"""So long that only `cpu_s` counts: a busy machine must not make other rows unreadable than an idle one."""


class Decoders:
    """As many decoders as threads decode at once; they stay for the next pictures.

    What becomes of alpha, 16 bits and the other kinds is said in `ImageDecoder`; EXIF orientation is
    applied. An ordinary RGB picture has Pillow's pixels. After `close`, for which no
    thread may be decoding, the next picture starts a new child. Children also end with this process,
    whatever ended it.
    """

    def __init__(self) -> None:
        # Taken and put back whole by threads, which needs no lock.
        self._idle: list[ImageDecoder] = []

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def pair(self, pair: EditPair) -> tuple[Picture, Picture]:
        """The original and the edited picture. Raises as `ImageDecoder.decode`."""
        for name, path in pair.unembedded.items():
            raise ImageRefused(f"{name}: {no_bytes(path)}")
        return self.decode(pair.original, "original"), self.decode(pair.edited, "edited")

    def decode(self, data: bytes, name: str) -> Picture:
        """One picture; `name` is what a refusal calls it. Raises as `ImageDecoder.decode`."""
        try:
            decoder = self._idle.pop()
        except IndexError:
            decoder = ImageDecoder(LIMITS)
        try:
            return decoder.decode(data, name)
        finally:
            self._idle.append(decoder)
