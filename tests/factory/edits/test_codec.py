"""An edited picture as a file."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from factory.edits.codec import encoded, output_key
from schemas.edits import Output

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("own", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("asked", ["input", "png", "jpeg", "webp"])
@pytest.mark.parametrize("mark", [False, True])
def test_a_file_has_the_format_asked_for_and_is_the_same_each_time(own, asked, mark):
    output = Output(format=asked, mark=mark)
    data = encoded(PICTURE, own, output, "a tool")
    picture = opened(data)
    assert picture.format == (own if asked == "input" else asked.upper())
    assert picture.size == (30, 20)
    assert encoded(PICTURE, own, output, "a tool") == data
    assert (b"compositeWithTrainedAlgorithmicMedia" in data) == mark


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
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
    assert (np.asarray(opened(encoded(PICTURE, "PNG", Output(), ""))) == PICTURE).all()
    jpeg = opened(encoded(PICTURE, "JPEG", Output(quality=90), ""))
    assert [layer[1:3] for layer in jpeg.layer] == [(1, 1)] * 3


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
