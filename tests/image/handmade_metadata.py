"""JPEG files and XMP packets put together by hand, as phones, drones and Photoshop write them."""

import hashlib
import io
import struct

import numpy as np
from PIL import Image as PillowImage

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "Item": "http://ns.google.com/photos/1.0/container/item/",
    "drone-dji": "http://www.dji.com/drone-dji/1.0/",
    "skydio": "https://www.skydio.com/drone-skydio/1.0/",
    "dwc": "http://rs.tdwg.org/dwc/index.htm",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "mystery": "urn:example:unknown",
}


def packet(attributes=None, inside=""):
    """An XMP packet with these properties as attributes, and elements inside."""
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in SPACES.items())
    text = " ".join(f'{name}="{value}"' for name, value in (attributes or {}).items())
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {spaces}><rdf:Description rdf:about="" '
        f"{text}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def levels(width=48, height=32):
    """Smooth colour with some grain, so that a JPEG has bytes in every block."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 // width, y * 255 // height, (x + y) * 2]
    noise = rng.integers(0, 24, (height, width, 3))
    return np.clip(np.stack(planes, axis=2) + noise, 0, 255).astype(np.uint8)


def jpeg(segments=(), behind=b"", picture=None, **options):
    """A JPEG file with (marker, body) segments behind its start, and bytes behind its end."""
    buffer = io.BytesIO()
    PillowImage.fromarray(levels() if picture is None else picture).save(
        buffer, "JPEG", **{"quality": 92} | options
    )
    data = buffer.getvalue()
    added = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments
    )
    return data[:2] + added + data[2:] + behind


def xmp_segment(body):
    return (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + body)


def extension_segments(body, step=60_000):
    """Extended XMP in pieces, and its name."""
    name = hashlib.md5(body).hexdigest().upper()
    pieces = range(0, len(body), step)
    mark = b"http://ns.adobe.com/xmp/extension/\0"
    return name, [
        (0xE1, mark + name.encode() + struct.pack(">II", len(body), at) + body[at : at + step])
        for at in pieces
    ]


def iim(*sets):
    """IIM data sets of the application record, as a Photoshop segment."""
    block = b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(v)) + v for number, v in sets)
    body = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block
    return (0xED, body + b"\0" * (len(block) % 2))
