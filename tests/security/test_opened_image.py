"""What `open` makes of strangers' pictures: their colours in sRGB, and no animations."""

import io
import random
import struct
import zlib
from contextlib import closing

import numpy as np
import pytest
from PIL import Image, ImageCms

from factory.errors import EditmillError
from factory.untrusted_image.child import without_metadata
from factory.untrusted_image.decoder import ImageDecoder, ImageLimits, ImageRefused, Reason
from tests.security import profiles
from tests.security.images import (
    FORMATS,
    KINDS,
    UPRIGHT,
    animation,
    claiming,
    encoded,
    grey_16,
    ordinary,
    pixels,
    png,
    scan_bomb,
    zeros,
)
from tests.security.odd_images import ODD, TURNED, chunk, jpeg_with, png_with, webp_with

LIMITS = ImageLimits(most_bytes=2**21, most_pixels=10**7)
WIDE = profiles.wide_gamut()
ALPHAS = {
    *("grey with alpha", "transparent", "alpha in WEBP"),
    *("transparent palette", "transparent colour"),
}
ANIMATED = ("animated PNG", "animated WEBP")
STILL = {kind: data for kind, (data, _) in KINDS.items() if kind not in ANIMATED}


@pytest.fixture(scope="module")
def decoder():
    with closing(ImageDecoder(LIMITS)) as one:
        yield one
        assert one.pid  # it outlived every picture


@pytest.fixture(autouse=True)
def survives(decoder):
    """No picture costs the child."""
    before = decoder.pid
    yield
    assert before in (None, decoder.pid)


def refusal(decoder, data):
    with pytest.raises(ImageRefused) as refused:
        decoder.open(data, "a.png")
    assert str(refused.value).startswith("a.png: must ")
    return refused.value


def in_srgb(image, profile):
    """As whoever uses Pillow converts a picture."""
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(image, given, srgb, outputMode="RGB"))


def saved(image, format, **options):
    options |= {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(format, {})
    return encoded(image, format, **options)


def ycck(data):
    """A CMYK JPEG whose numbers count as YCCK."""
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\x02" + data[at + 1 :]


def inked(**options):
    """A CMYK JPEG with all inks."""
    first = np.concatenate([pixels(), pixels()[::-1, :, 1:2]], -1)
    return encoded(Image.fromarray(first, "CMYK"), "JPEG", quality=95, **options)


@pytest.mark.parametrize("format", FORMATS)
def test_a_wide_gamut_becomes_srgb_as_pillow_converts_it(decoder, format):
    data = saved(Image.fromarray(pixels()), format, icc_profile=WIDE)
    found = decoder.open(data)
    source = Image.open(io.BytesIO(data)).convert("RGB")
    assert (found.picture == in_srgb(source, WIDE)).all()
    assert (found.format, found.had_alpha, found.had_profile) == (format, False, True)
    assert np.abs(found.picture.astype(int) - np.asarray(source)).max() > 30
    assert (decoder.decode(data) == np.asarray(source)).all()
    assert found.picture.flags.writeable


@pytest.mark.parametrize(
    ("image", "profile", "expected"),
    [
        # 227.05, 100.03, 100.01 by the matrices of the two spaces.
        (Image.new("RGB", (1, 1), (200, 100, 100)), WIDE, [227, 100, 100]),
        (Image.new("RGB", (1, 1), (90, 140, 100)), WIDE, [53, 141, 98]),
        # 100/255 of the light.
        (Image.new("L", (1, 1), 100), profiles.grey(1.0), [168] * 3),
        (Image.new("1", (1, 1), 1), profiles.grey(1.0), [255] * 3),
        # Half of it, over white.
        (Image.new("LA", (1, 1), (100, 51)), profiles.grey(1.0), [238] * 3),
        (Image.new("RGBA", (1, 1), (200, 100, 100, 51)), WIDE, [249, 224, 224]),
    ],
    ids=["red", "green", "grey", "one bit", "grey with alpha", "red with alpha"],
)
def test_colours_are_those_of_the_profile_before_alpha_is_laid_over_white(
    decoder, image, profile, expected
):
    found = decoder.open(encoded(image, "PNG", icc_profile=profile))
    assert np.abs(found.picture[0, 0].astype(int) - expected).max() <= 1
    assert (found.had_alpha, found.had_profile) == (image.mode in ("LA", "RGBA"), True)


def test_a_palette_has_the_colours_of_its_profile(decoder):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 100, 100, 90, 140, 100])
    image.putdata([0, 1])
    plain = decoder.open(encoded(image, "PNG", icc_profile=WIDE))
    seen = decoder.open(encoded(image, "PNG", icc_profile=WIDE, transparency=0))
    assert plain.picture.tolist() == [[[227, 100, 100], [53, 141, 98]]]
    assert seen.picture.tolist() == [[[255, 255, 255], [53, 141, 98]]]
    assert (plain.had_alpha, seen.had_alpha) == (False, True)


def test_16_bits_have_the_colours_of_their_profile(decoder):
    profile = b"grey\0\0" + zlib.compress(profiles.grey(1.0))
    found = decoder.open(grey_16([[100 * 256]], (b"iCCP", profile)))
    assert (found.picture.tolist(), found.had_profile) == ([[[168] * 3]], True)


@pytest.mark.parametrize("turns", [bytes, ycck], ids=["CMYK", "YCCK"])
def test_inks_have_the_colours_that_their_press_gives_pictures(decoder, turns):
    data = turns(inked(icc_profile=profiles.press()))
    found = decoder.open(data)
    source = Image.open(io.BytesIO(data))
    assert source.mode == "CMYK"
    assert (found.picture == in_srgb(source, profiles.press())).all()
    assert found.had_profile
    assert np.abs(found.picture.astype(int) - decoder.decode(data)).mean() > 10


def test_black_ink_is_as_dark_as_its_press_prints_pictures(decoder):
    data = encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG", icc_profile=profiles.press())
    assert decoder.open(data).picture[0, 0].tolist() == [73, 87, 88]
    assert decoder.decode(data)[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("format", FORMATS)
def test_srgb_as_a_profile_changes_nothing(decoder, format):
    data = saved(Image.fromarray(pixels()), format, icc_profile=profiles.made("sRGB"))
    found = decoder.open(data)
    assert found.had_profile
    assert np.abs(found.picture.astype(int) - decoder.decode(data)).max() <= 1


RGB = Image.fromarray(pixels())
NONE = {
    "no profile": (RGB, None),
    "an empty profile": (RGB, b""),
    "no profile's bytes": (RGB, b"no profile " * 40),
    "a profile's beginning": (RGB, WIDE[:200]),
    "a profile without colours": (RGB, profiles.profile(b"RGB ", b"XYZ ", b"mntr", {})),
    "a profile of a later kind": (RGB, WIDE[:8] + b"\x09" + WIDE[9:]),
    "Lab": (RGB, profiles.made("LAB")),
    "XYZ": (RGB, profiles.made("XYZ")),
    "grey for colours": (RGB, profiles.grey(1.0)),
    "inks for colours": (RGB, profiles.press()),
    "colours for grey": (RGB.convert("L"), WIDE),
    "inks for grey": (RGB.convert("L"), profiles.press()),
    "an effect": (RGB, profiles.wide_gamut(b"abst")),
    "a way between devices": (RGB, profiles.wide_gamut(b"link")),
    "named colours": (RGB, profiles.wide_gamut(b"nmcl")),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("image", "profile"), NONE.values(), ids=NONE)
def test_a_profile_that_cannot_be_used_counts_as_none(decoder, image, profile, format):
    # WEBP's grey is colours.
    image = RGB if format == "WEBP" and profile != WIDE else image
    profile = profiles.grey(1.0) if format == "WEBP" and profile == WIDE else profile
    data = saved(image, format, icc_profile=profile)
    found = decoder.open(data)
    assert not found.had_profile
    assert (found.picture == decoder.decode(data)).all()


@pytest.mark.parametrize("profile", [WIDE, profiles.grey(1.0), profiles.press()[:2000]])
def test_inks_without_a_profile_of_theirs_are_converted_as_without_one(decoder, profile):
    data = inked(icc_profile=profile)
    found = decoder.open(data)
    assert not found.had_profile
    assert (found.picture == decoder.decode(data)).all()


@pytest.mark.parametrize("make", [profiles.wide_gamut, profiles.press], ids=["RGB", "CMYK"])
def test_flipped_bits_in_a_profile_make_no_picture_unreadable(decoder, make):
    rng, whole, had = random.Random(7), make(), set()
    for _ in range(150 if make is profiles.wide_gamut else 30):
        profile = bytearray(whole)
        for _ in range(rng.choice((1, 4, 40))):
            profile[rng.randrange(min(len(profile), 600))] ^= 1 << rng.randrange(8)
        keeps = {"icc_profile": bytes(profile)}
        data = inked(**keeps) if make is profiles.press else encoded(RGB, "PNG", **keeps)
        found = decoder.open(data)
        assert found.picture.shape == (40, 56, 3)
        had.add(found.had_profile)
    assert had == {False, True}


@pytest.mark.parametrize("kind", STILL)
def test_without_a_profile_every_kind_of_pixel_is_as_decode_gives_it(decoder, kind):
    found = decoder.open(STILL[kind])
    assert (found.picture == decoder.decode(STILL[kind])).all()
    assert (found.had_alpha, found.had_profile) == (kind in ALPHAS, False)


@pytest.mark.parametrize("profile", [None, WIDE], ids=["plain", "with a profile"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(decoder, orientation, profile):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(RGB, "PNG", exif=exif, icc_profile=profile)
    expected = in_srgb(RGB, profile) if profile else pixels()
    assert (decoder.open(data).picture == UPRIGHT[orientation](expected)).all()


def test_a_broken_profile_costs_nothing_else_of_the_metadata(decoder):
    keeps = {"xmp": b'<x tiff:Orientation="6"/>', "icc_profile": profiles.grey(1.0)}
    data = encoded(RGB, "WEBP", lossless=True, **keeps)
    assert (decoder.open(data).picture == np.rot90(pixels(), -1)).all()


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_what_says_nothing_of_pixels_makes_no_picture_unreadable(decoder, data):
    found = decoder.open(data)
    assert (found.picture == decoder.decode(data)).all()
    magic = {b"\xff\xd8": "JPEG", b"\x89P": "PNG", b"RI": "WEBP"}
    assert (found.format, found.had_profile) == (magic[data[:2]], False)


BESIDE = {
    "PNG": png_with(
        chunk(b"zTXt", b"a\0\0" + zeros(2**22)),
        chunk(b"iCCP", b"wide\0\0" + zlib.compress(WIDE)),
        chunk(b"eXIf", TURNED),
    ),
    "JPEG": jpeg_with(
        (b"\xe2", b"ICC_PROFILE\0\1\1" + WIDE),
        (b"\xe1", b"Exif\0\0" + TURNED),
        (b"\xe0", b"JFIF\0\1"),
    ),
    "WEBP": webp_with(
        (b"XMP ", 999, b"<x"), exif=b"Exif\0\0" + TURNED, xmp=b"<x>", icc_profile=WIDE
    ),
}


@pytest.mark.parametrize("format", FORMATS)
def test_a_profile_stays_where_something_else_is_taken_out(decoder, format):
    data = BESIDE[format]
    with pytest.raises(Exception):  # noqa: B017, PT011 - Pillow has many kinds
        Image.open(io.BytesIO(data)).load()
    found = decoder.open(data)
    plain = Image.fromarray(np.rot90(decoder.decode(data)).copy())
    assert (found.picture == np.rot90(in_srgb(plain, WIDE), -1)).all()
    assert (found.format, found.had_profile) == (format, True)


def test_a_profile_stays_where_a_file_is_too_large_for_its_texts(decoder):
    texts = [chunk(b"tEXt", b"a\0" + bytes([97]) * 2**19)] * 8
    data = png_with(chunk(b"iCCP", b"wide\0\0" + zlib.compress(WIDE)), *texts)
    assert len(data) > LIMITS.most_bytes
    assert (decoder.open(data).picture == in_srgb(RGB, WIDE)).all()


def in_chunks(data, *chunks):
    """A PNG with more of them after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


FRAMES = {
    "APNG": animation("PNG"),
    "APNG beside its first picture": animation("PNG", default_image=True),
    "WEBP": animation("WEBP"),
    "APNG with a bomb": in_chunks(animation("PNG"), chunk(b"zTXt", b"a\0\0" + zeros(2**28))),
    "APNG that is cut": animation("PNG")[:-40],
    "APNG that is large": in_chunks(animation("PNG"), *[chunk(b"tEXt", b"a\0" + bytes(2**19))] * 5),
    "WEBP with a profile": animation("WEBP", icc_profile=WIDE),
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_an_animation_is_refused(decoder, data):
    error = refusal(decoder, data)
    assert error.reason == Reason.ANIMATED == "animated"
    assert str(error) == "a.png: must be a still picture, got 2 frames"


def test_animations_of_other_sizes_are_counted(decoder):
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in range(0, 250, 50)]
    for format in ("PNG", "WEBP"):
        error = refusal(
            decoder, encoded(frames[0], format, save_all=True, append_images=frames[1:])
        )
        assert str(error).endswith("got 5 frames")


def test_a_cameras_two_views_are_one_picture(decoder):
    views = [RGB, Image.new("RGB", (56, 40))]
    data = encoded(views[0], "MPO", save_all=True, append_images=views[1:], icc_profile=WIDE)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
        expected = in_srgb(image.convert("RGB"), WIDE)
    found = decoder.open(data)
    assert (found.picture == expected).all()
    assert (found.format, found.had_profile) == ("JPEG", True)


def test_an_animation_of_one_frame_is_a_still_picture(decoder):
    frame = Image.new("RGB", (4, 4), (250, 0, 0))
    whole = encoded(frame, "PNG")
    one = in_chunks(
        whole,
        chunk(b"acTL", struct.pack(">II", 1, 0)),
        chunk(b"fcTL", struct.pack(">5I2H2B", 0, 4, 4, 0, 0, 1, 10, 0, 0)),
    )
    assert decoder.open(one).picture[0, 0].tolist() == [250, 0, 0]


def test_a_broken_count_of_frames_is_none(decoder):
    data = in_chunks(encoded(RGB, "PNG"), chunk(b"acTL", b"\0\0"))
    assert (decoder.open(data).picture == pixels()).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", Reason.FORMAT, id="nothing"),
        pytest.param(encoded(RGB, "GIF"), Reason.FORMAT, id="GIF"),
        pytest.param(ordinary("PNG") + bytes(2**21), Reason.BYTES, id="too many bytes"),
        pytest.param(png(20000, 20000, (b"IDAT", zeros(10**6))), Reason.PIXELS, id="bomb"),
        pytest.param(claiming("WEBP", 16000, 16000), Reason.PIXELS, id="WEBP's canvas"),
        pytest.param(claiming("PNG", 2000, 2000), Reason.DAMAGED, id="claims more than it has"),
        *(pytest.param(ordinary(f)[:-99], Reason.DAMAGED, id=f"a cut {f}") for f in FORMATS),
    ],
)
def test_what_is_refused_says_why_as_decode_does(decoder, data, reason):
    error = refusal(decoder, data)
    assert error.reason == reason
    with pytest.raises(ImageRefused) as other:
        decoder.decode(data, "a.png")
    if reason != Reason.DAMAGED:  # which counts the bytes without a profile
        assert str(other.value) == str(error)


def test_a_picture_that_takes_too_much_memory_or_time_is_refused_and_the_next_works():
    hog = encoded(Image.new("RGB", (6000, 6000)), "PNG", icc_profile=WIDE)
    with closing(ImageDecoder(ImageLimits(memory_bytes=96 * 2**20))) as decoder:
        assert refusal(decoder, hog).reason == Reason.MEMORY
        assert (decoder.open(ordinary("PNG")).picture == pixels()).all()
    with closing(ImageDecoder(ImageLimits(cpu_s=0.5, wall_s=120))) as decoder:
        assert refusal(decoder, scan_bomb(3000, 4000)).reason == Reason.TIME
        assert (decoder.open(ordinary("PNG")).picture == pixels()).all()


@pytest.mark.parametrize("format", FORMATS)
def test_taking_metadata_out_keeps_what_is_asked_for(format):
    profile = zlib.compress(WIDE) if format == "PNG" else WIDE
    for keeps in ((), ("exif",), ("profile",), ("exif", "profile")):
        bare = without_metadata(BESIDE[format], keeps)
        assert (profile in bare, TURNED in bare) == ("profile" in keeps, "exif" in keeps)


def test_a_pillow_that_reads_no_profiles_is_no_fault_of_the_picture(decoder, monkeypatch):
    monkeypatch.setattr("factory.untrusted_image.decoder.features.check", lambda name: False)
    with pytest.raises(EditmillError, match="Pillow: must be built with littlecms") as no:
        decoder.open(ordinary("PNG"))
    assert not isinstance(no.value, ImageRefused)
    assert (decoder.decode(ordinary("PNG")) == pixels()).all()
