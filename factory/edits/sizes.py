"""The size at which a picture is edited: InstructPix2Pix's rule, in integers."""

MOST_LONGER = 2
"""The longer side is at most so many times the one asked for, whatever the aspect."""


def edit_size(width: int, height: int, longer_px: int, multiple: int) -> tuple[int, int]:
    """The width and height, multiples of `multiple`, to which a picture is brought.

    Its longer side becomes about `longer_px`; the shorter one is then rounded up, and the longer one
    follows at the picture's own aspect, rounded down. Source: `edit_cli.py` of InstructPix2Pix, which
    computes in floats and so loses a multiple of the shorter side of 7 % of all sizes. It then crops what
    does not fit; here the whole picture is resized, as in training, so that it comes back with nothing
    lost. Aspects that would need a longer side than `MOST_LONGER` times the one asked for are squeezed to
    it.
    """
    shorter, longer = sorted((width, height))
    short = -(-shorter * longer_px // (longer * multiple)) * multiple
    long = longer * short // (shorter * multiple) * multiple
    long = min(long, max(multiple, MOST_LONGER * longer_px // multiple * multiple))
    return (long, short) if width >= height else (short, long)
