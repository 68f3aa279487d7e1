"""An edited picture as a file: format, quality, and by choice a mark that says how it was made."""

import io
from typing import Any
from xml.sax.saxutils import quoteattr

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from factory.edits.quality import Written
from factory.errors import first_line
from factory.pictures import Picture
from schemas.edits import Output

ENDINGS = {"PNG": ("png",), "JPEG": ("jpg", "jpeg", "jpe", "jfif"), "WEBP": ("webp",)}
"""Of keys, by format; the first one is given to a picture whose format changes."""
UNKNOWN = 95
"""The quality of a file where nobody says which."""
MARK = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/'
    'compositeWithTrainedAlgorithmicMedia" xmp:CreatorTool={tool}/></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
)
"""IPTC's way to say so (iptc.org, digital source types): a picture that a trained model changed."""


def encoded(picture: Picture, own: Written, output: Output, tool: str) -> bytes:
    """A picture (height, width, 3) as a file of the output's format, or as its `own` was.

    Equal pictures give equal bytes under one version of Pillow. `tool` is what the mark names as its maker.
    Raises `ValueError` where the format has no room for it: sides of WebP have at most 16,383 pixels, of
    JPEG 65,535.
    """
    format = own.format if output.format == "input" else output.format.upper()
    quality = output.quality or (own.format == format and own.quality) or UNKNOWN
    options: dict[str, Any] = {}
    if format == "JPEG":
        options = {"quality": quality, "subsampling": 0}
    elif format == "WEBP":
        stays = own.lossless and output.quality is None
        options = {"lossless": True} if stays else {"quality": quality, "method": 4}
    if output.mark:
        options |= _marked(format, MARK.format(tool=quoteattr(tool)))
    sink = io.BytesIO()
    try:
        Image.fromarray(picture).save(sink, format, **options)
    except (ValueError, OSError) as error:
        height, width = picture.shape[:2]
        raise ValueError(
            f"edit must fit a file of {format}, got {width}x{height}: {first_line(error)}"
        ) from None
    return sink.getvalue()


def looks_like_picture(key: str) -> bool:
    """Unless its ending is none of a picture's: who looks for a first picture tries no other objects."""
    _, dot, ending = key.rpartition("/")[2].rpartition(".")
    return not dot or ending.lower() in {one for several in ENDINGS.values() for one in several}


def _marked(format: str, xmp: str) -> dict[str, Any]:
    if format != "PNG":
        return {"xmp": xmp.encode()}
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    return {"pnginfo": info}


def output_key(image: str, output: Output) -> str:
    """The key of an edited picture by that of the picture: the same, or with the new format's ending."""
    if output.format == "input":
        return image
    stem, dot, ending = image.rpartition(".")
    endings = ENDINGS[output.format.upper()]
    if dot and ending.lower() in endings:
        return image
    known = {one for several in ENDINGS.values() for one in several}
    # What follows another dot belongs to the name.
    stem = stem if dot and ending.lower() in known else image
    return f"{stem}.{endings[0]}"
