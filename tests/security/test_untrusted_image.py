"""What becomes of images that strangers made: the right pixels, or a refusal with its reason."""

import random
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from factory.untrusted_image.child import DECODED, OPENED, without_metadata
from factory.untrusted_image.decoder import ImageDecoder, ImageLimits, ImageRefused, Reason
from tests.security.images import (
    FORMATS,
    KINDS,
    UPRIGHT,
    borders,
    claiming,
    encoded,
    ordinary,
    pixels,
    png,
    scan_bomb,
    zeros,
)
from tests.security.odd_images import ODD, TURNED, chunk, jpeg_with, png_with, webp_with

FLIPS = 60
LIMITS = ImageLimits(most_bytes=2**21, most_pixels=10**7)


@pytest.fixture(scope="module")
def decoder():
    with closing(ImageDecoder(LIMITS)) as one:
        yield one


def refusal(decoder, data):
    with pytest.raises(ImageRefused) as refused:
        decoder.decode(data, "s3://bucket/a.jpg")
    assert str(refused.value).startswith("s3://bucket/a.jpg: must ")
    return refused.value.reason


@pytest.mark.parametrize("format", FORMATS)
def test_an_ordinary_image_has_the_pixels_that_pillow_reads(decoder, format):
    found = decoder.decode(ordinary(format))
    assert (found.shape, found.dtype) == ((40, 56, 3), np.uint8)
    if format == "JPEG":
        assert np.abs(found.astype(int) - pixels()).mean() < 8
    else:
        assert (found == pixels()).all()
    assert found.flags.writeable


@pytest.mark.parametrize("format", FORMATS)
def test_one_pixel_is_an_image(decoder, format):
    found = decoder.decode(encoded(Image.new("RGB", (1, 1), (200, 200, 200)), format))
    assert found.tolist() == [[[200, 200, 200]]]


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(decoder, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(pixels()), "PNG", exif=exif)
    assert (decoder.decode(data) == UPRIGHT[orientation](pixels())).all()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_changes_nothing(decoder, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(pixels()), "WEBP", exif=exif, lossless=True)
    assert (decoder.decode(data) == pixels()).all()


@pytest.mark.parametrize("exif", [b"no TIFF at all", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"])
def test_broken_exif_is_ignored(decoder, exif):
    data = encoded(Image.fromarray(pixels()), "PNG", exif=exif)
    assert (decoder.decode(data) == pixels()).all()


@pytest.mark.parametrize(("data", "expected"), KINDS.values(), ids=KINDS)
def test_every_kind_of_pixel_becomes_rgb_by_its_rule(decoder, data, expected):
    assert decoder.decode(data)[0, 0].tolist() == expected


def outcome(decoder, data):
    """Pixels or the reason why there are none."""
    try:
        return decoder.decode(data)
    except ImageRefused as error:
        return error.reason


@pytest.mark.parametrize("format", FORMATS)
def test_a_cut_file_is_refused_or_lacks_nothing_but_its_end_mark(decoder, format):
    whole = ordinary(format)
    complete = decoder.decode(whole)
    cuts = {*borders(whole), *range(len(whole) // 7, len(whole), len(whole) // 7)}
    reasons = []
    for cut in sorted(cuts):
        found = outcome(decoder, whole[:cut])
        if isinstance(found, Reason):
            reasons.append(found)
            assert found == Reason.DAMAGED or cut < 12, cut
        else:
            assert len(whole) - cut <= 16, cut  # a checksum and an end mark
            assert (found == complete).all(), cut
    assert len(reasons) > 10


@pytest.mark.parametrize("format", FORMATS)
def test_flipped_bits_give_pixels_or_a_refusal_and_never_end_the_decoder(decoder, format):
    whole = ordinary(format)
    before = decoder.pid
    rng = random.Random(format)
    kinds = set()
    for _ in range(FLIPS):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 4, 40))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        found = outcome(decoder, bytes(data))
        kinds.add(found if isinstance(found, Reason) else found.shape[2])
    assert {3, Reason.DAMAGED} <= kinds
    assert not kinds & {Reason.CRASHED, Reason.TIME}
    assert decoder.pid == before


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", Reason.FORMAT, id="nothing"),
        pytest.param(b"<html></html>", Reason.FORMAT, id="a page"),
        pytest.param(b"\x80\x04.", Reason.FORMAT, id="a pickle"),
        pytest.param(encoded(Image.new("RGB", (8, 8)), "GIF"), Reason.FORMAT, id="GIF"),
        pytest.param(encoded(Image.new("RGB", (8, 8)), "TIFF"), Reason.FORMAT, id="TIFF"),
        pytest.param(encoded(Image.new("RGB", (8, 8)), "BMP"), Reason.FORMAT, id="BMP"),
        pytest.param(b"%PDF-1.7\n%%EOF", Reason.FORMAT, id="PDF"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", Reason.FORMAT, id="EPS"),
        pytest.param(b"RIFF\x10\x00\x00\x00AVI LIST", Reason.FORMAT, id="AVI"),
        pytest.param(b"\xff\xd8\xff\xe0" + b"\x00" * 50, Reason.DAMAGED, id="JPEG in name only"),
        pytest.param(ordinary("PNG") + bytes(2**21), Reason.BYTES, id="too many bytes"),
        pytest.param(png(20000, 20000, (b"IDAT", zeros(10**6))), Reason.PIXELS, id="bomb"),
        pytest.param(claiming("PNG", 2**31 - 1, 2**31 - 1), Reason.PIXELS, id="PNG's most"),
        pytest.param(claiming("JPEG", 65500, 65500), Reason.PIXELS, id="JPEG's most"),
        pytest.param(claiming("WEBP", 2**24, 2**24), Reason.PIXELS, id="WEBP's most"),
        pytest.param(claiming("WEBP", 16000, 16000), Reason.PIXELS, id="WEBP's canvas"),
        pytest.param(claiming("PNG", 2000, 2000), Reason.DAMAGED, id="claims more than it has"),
        pytest.param(claiming("PNG", 0, 8), Reason.DAMAGED, id="no width"),
        pytest.param(
            png(8, 8, (b"zTXt", b"a\x00\x00" + zeros(2**28)), (b"IDAT", zeros(20))),
            Reason.DAMAGED,
            id="bomb in a text before half a picture",
        ),
        pytest.param(
            png(20000, 20000, (b"pHYs", b"a"), (b"IDAT", zeros(10**6))),
            Reason.PIXELS,
            id="bomb behind a broken size",
        ),
    ],
)
def test_what_is_refused_says_why(decoder, data, reason):
    assert refusal(decoder, data) == reason
    assert decoder.decode(ordinary("PNG")).shape == (40, 56, 3)


def test_a_picture_that_takes_too_much_memory_is_refused_and_the_next_works():
    with closing(ImageDecoder(ImageLimits(memory_bytes=96 * 2**20))) as decoder:
        hog = encoded(Image.new("RGB", (6000, 6000)), "PNG")
        assert refusal(decoder, hog) == Reason.MEMORY
        assert (decoder.decode(ordinary("PNG")) == pixels()).all()


def test_a_picture_that_takes_too_long_is_refused_and_the_next_works():
    with closing(ImageDecoder(ImageLimits(cpu_s=0.5, wall_s=120))) as decoder:
        assert refusal(decoder, scan_bomb(3000, 4000)) == Reason.TIME
        assert (decoder.decode(ordinary("PNG")) == pixels()).all()


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_what_says_nothing_of_pixels_makes_no_picture_unreadable(decoder, data):
    found = decoder.decode(data)
    assert found.shape == (40, 56, 3)
    assert np.abs(found.astype(int) - pixels()).mean() < 8


@pytest.mark.parametrize(
    "data",
    [
        png_with(chunk(b"zTXt", b"a\0\0" + zeros(2**22)), chunk(b"eXIf", TURNED)),
        jpeg_with((b"\xe2", b"ICC_PROFILE\0"), (b"\xe1", b"Exif\0\0" + TURNED)),
        webp_with((b"XMP ", 999, b"<x"), exif=b"Exif\0\0" + TURNED, xmp=b"<x>"),
    ],
    ids=["PNG", "JPEG", "WEBP"],
)
def test_a_picture_is_put_upright_also_where_something_else_is_taken_out_of_it(decoder, data):
    assert decoder.decode(data).shape == (56, 40, 3)


def test_a_file_is_not_too_large_for_what_its_texts_take(decoder):
    data = png_with(*[chunk(b"tEXt", b"a\0" + bytes([97]) * 2**19)] * 8)
    assert len(data) > LIMITS.most_bytes
    assert (decoder.decode(data) == pixels()).all()


@pytest.mark.parametrize("format", FORMATS)
def test_taking_metadata_out_twice_is_taking_it_out_once_and_never_fails(format):
    rng, whole = random.Random(format), ordinary(format)
    for _ in range(300):
        data = bytearray(whole[: rng.randrange(13, len(whole) + 1)])
        for _ in range(rng.randrange(4)):
            data[rng.randrange(12, len(data))] = rng.randrange(256)
        for keeps in ((), DECODED, OPENED):
            bare = without_metadata(bytes(data), keeps)
            assert len(bare) <= len(data)
            assert without_metadata(bare, keeps) == bare
