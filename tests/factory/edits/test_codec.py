"""An edited picture as a file."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from factory.edits.codec import encoded, output_key
from factory.edits.quality import Written, written
from schemas.edits import Output

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


PNG, JPEG, WEBP = (Written(format) for format in ("PNG", "JPEG", "WEBP"))


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("own", [PNG, JPEG, WEBP])
@pytest.mark.parametrize("asked", ["input", "png", "jpeg", "webp"])
@pytest.mark.parametrize("mark", [False, True])
def test_a_file_has_the_format_asked_for_and_is_the_same_each_time(own, asked, mark):
    output = Output(format=asked, mark=mark)
    data = encoded(PICTURE, own, output, "a tool")
    picture = opened(data)
    assert picture.format == (own.format if asked == "input" else asked.upper())
    assert picture.size == (30, 20)
    assert encoded(PICTURE, own, output, "a tool") == data
    assert (b"compositeWithTrainedAlgorithmicMedia" in data) == mark


@pytest.mark.parametrize("format", [PNG, JPEG, WEBP])
def test_the_mark_is_xmp_as_readers_of_metadata_find_it(format):
    data = encoded(PICTURE, format, Output(mark=True), 'editmill "quoted" & <odd>')
    info = opened(data).info
    found = info.get("xmp") or info["XML:com.adobe.xmp"]
    (description,) = ElementTree.fromstring(found).iter(
        "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
    )
    said = {name.rpartition("}")[2]: value for name, value in description.items()}
    kind = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    assert said["DigitalSourceType"] == kind
    assert said["CreatorTool"] == 'editmill "quoted" & <odd>'


def test_png_keeps_every_pixel_and_jpeg_its_colours_in_full():
    assert (np.asarray(opened(encoded(PICTURE, PNG, Output(), ""))) == PICTURE).all()
    jpeg = opened(encoded(PICTURE, JPEG, Output(quality=90), ""))
    assert [layer[1:3] for layer in jpeg.layer] == [(1, 1)] * 3


def saved(format, mode="RGB", **options):
    sink = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(sink, format, **options)
    return sink.getvalue()


@pytest.mark.parametrize("quality", [1, 30, 50, 75, 90, 100])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_tells_its_quality_and_its_edit_has_the_same(quality, mode):
    own = written(saved("JPEG", mode, quality=quality, comment=b"x" * 300), "JPEG")
    assert own == Written("JPEG", quality)
    edit = opened(encoded(PICTURE, own, Output(), ""))
    assert edit.quantization[0] == opened(saved("JPEG", quality=quality)).quantization[0]
    # Another format has no use for it, and who asks for one gets that.
    assert encoded(PICTURE, own, Output(format="webp"), "") == encoded(
        PICTURE, WEBP, Output(quality=95), ""
    )
    assert written(encoded(PICTURE, own, Output(quality=60), ""), "JPEG").quality == 60


def test_of_tables_that_nobody_else_has_the_nearest_quality_counts():
    odd = [min(255, 2 + n) for n in range(64)]
    found = written(saved("JPEG", qtables=[odd, odd]), "JPEG")
    assert 1 <= found.quality <= 100


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0" + bytes(20)], ids=["bare", "with metadata"])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_lossless_webp_stays_so(lossless, exif):
    own = written(saved("WEBP", lossless=lossless, exif=exif), "WEBP")
    assert own == Written("WEBP", lossless=lossless)
    edit = opened(encoded(PICTURE, own, Output(), ""))
    assert (np.asarray(edit) == PICTURE).all() == lossless
    asked = opened(encoded(PICTURE, own, Output(quality=80), ""))
    assert not (np.asarray(asked) == PICTURE).all()


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_a_file_that_is_cut_or_says_nothing_has_no_quality(format):
    whole = saved(format, quality=70)
    for end in range(0, 200, 3):
        assert written(whole[:end], format).quality in (None, 70)
    noise = np.random.default_rng(1).integers(0, 256, 400, np.uint8).tobytes()
    for start in (b"\xff\xd8", b"\xff\xd8\xff\xdb\x00\x02", b"\xff\xd8" + b"\xff" * 5000):
        assert written(start + noise, format).quality is None


@pytest.mark.parametrize(
    ("key", "format", "found"),
    [
        ("a/b.jpg", "input", "a/b.jpg"), ("a/b.jpg", "jpeg", "a/b.jpg"), ("a/b.JPEG", "jpeg", "a/b.JPEG"),
        ("a/b.jpg", "png", "a/b.png"), ("a.b/c", "png", "a.b/c.png"), ("v1.5", "webp", "v1.5.webp"),
        ("c.PNG", "jpeg", "c.jpg"),
    ],
)  # fmt: skip
def test_a_key_changes_its_ending_with_the_format_alone(key, format, found):
    assert output_key(key, Output(format=format)) == found
