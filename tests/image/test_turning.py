"""Metadata tell the truth about the new picture: turned, resized."""

import io
import struct

import numpy as np
import pytest
from handmade_metadata import iim, jpeg, levels, packet, xmp_segment
from PIL import Image as PillowImage

from verax.image import decode, encode, tags
from verax.image.decode import TURNS
from verax.image.turning import MOVES

W, H = 48, 32
SIZES = {
    "tiff:Orientation": "6", "tiff:ImageWidth": "48", "tiff:ImageLength": "32",
    "exif:PixelXDimension": "48", "exif:PixelYDimension": "32", "tiff:XResolution": "300/1",
    "tiff:YResolution": "150/1",
}  # fmt: skip
FACE = (
    '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="48" '
    'stDim:h="32" stDim:unit="pixel"/><mwg-rs:RegionList><rdf:Bag><rdf:li><rdf:Description '
    'mwg-rs:Name="Example">{}</rdf:Description></rdf:li></rdf:Bag></mwg-rs:RegionList>'
    "</mwg-rs:Regions>"
)
AREAS = {
    "attributes": '<mwg-rs:Area stArea:x="0.25" stArea:y="0.25" stArea:w="0.1" stArea:h="0.2" '
    'stArea:unit="normalized"/>',
    "elements": '<mwg-rs:Area rdf:parseType="Resource"><stArea:x>0.25</stArea:x><stArea:y>0.25'
    "</stArea:y><stArea:w>0.1</stArea:w><stArea:h>0.2</stArea:h></mwg-rs:Area>",
    "description": '<mwg-rs:Area><rdf:Description stArea:x="0.25" stArea:y="0.25" stArea:w="0.1" '
    'stArea:h="0.2"/></mwg-rs:Area>',
}
OTHERS = (
    '<rdf:li rdf:parseType="Resource"><MPReg:Rectangle>0.2, 0.15, 0.1, 0.2</MPReg:Rectangle>'
    "</rdf:li>"
    '<Iptc4xmpExt:RegionBoundary Iptc4xmpExt:rbUnit="relative" Iptc4xmpExt:rbX="0.2" '
    'Iptc4xmpExt:rbY="0.15" Iptc4xmpExt:rbW="0.1" Iptc4xmpExt:rbH="0.2"/>'
    "<exif:SubjectArea><rdf:Seq><rdf:li>12</rdf:li><rdf:li>9</rdf:li><rdf:li>5</rdf:li>"
    "<rdf:li>7</rdf:li></rdf:Seq></exif:SubjectArea>"
)


def exif(orientation):
    tags = PillowImage.Exif()
    tags[0x0112], tags[0x0100], tags[0x0101] = orientation, W, H
    tags[0x011A], tags[0x011B], tags[0x0128] = 300.0, 150.0, 2
    tags.get_ifd(0x8769).update({0xA002: W, 0xA003: H, 0x9214: (12, 9, 5, 7)})
    return tags


def photo_of(orientation, inside="", **attributes):
    body = packet(SIZES | attributes | {"tiff:Orientation": str(orientation)}, inside)
    return decode(jpeg([xmp_segment(body)], exif=exif(orientation)))


@pytest.mark.parametrize("turn", range(1, 9))
def test_points_move_as_pixels_do(turn):
    plane = np.zeros((H, W), np.float32)
    plane[9, 12] = 1
    y, x = np.argwhere(TURNS[turn](plane))[0]

    assert MOVES[turn](12, 9, W - 1, H - 1) == (x, y)


@pytest.mark.parametrize("form", AREAS)
def test_a_face_stays_on_the_face(form):
    text = photo_of(6, FACE.format(AREAS[form])).metadata.xmp.decode()

    for name, value in {"x": "0.75", "y": "0.25", "w": "0.2", "h": "0.1"}.items():
        assert f'stArea:{name}="{value}"' in text or f"<stArea:{name}>{value}<" in text
    assert 'stDim:w="32"' in text
    assert 'stDim:h="48"' in text


def test_other_regions_and_subject_areas_follow():
    text = photo_of(6, OTHERS).metadata.xmp.decode()

    assert "0.65, 0.2, 0.2, 0.1" in text
    assert 'rbX="0.65"' in text
    assert 'rbY="0.2"' in text
    assert [f"<rdf:li>{n}</rdf:li>" in text for n in (22, 12, 7, 5)] == [True] * 4


def test_a_polygon_in_pixels_follows():
    points = "".join(
        f'<rdf:li Iptc4xmpExt:rbX="{x}" Iptc4xmpExt:rbY="{y}"/>' for x, y in ((0, 0), (12, 9))
    )
    shape = (
        '<Iptc4xmpExt:RegionBoundary Iptc4xmpExt:rbUnit="pixel"><Iptc4xmpExt:rbVertices>'
        f"<rdf:Seq>{points}</rdf:Seq></Iptc4xmpExt:rbVertices></Iptc4xmpExt:RegionBoundary>"
    )
    text = photo_of(6, shape).metadata.xmp.decode()

    assert 'rbX="32" Iptc4xmpExt:rbY="0"' in text
    assert 'rbX="23" Iptc4xmpExt:rbY="12"' in text


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_resolution_and_subject_agree_everywhere(orientation):
    photo = photo_of(orientation)
    data = encode(photo.pixels, format="jpeg", like=photo)
    turned = orientation >= 5

    with PillowImage.open(io.BytesIO(data)) as picture:
        tags, inner = picture.getexif(), picture.getexif().get_ifd(0x8769)
        size = (tags[0x0100], tags[0x0101])
        assert (
            size == (inner[0xA002], inner[0xA003]) == picture.size == (W, H)[:: -1 if turned else 1]
        )
        assert (tags[0x011A], tags[0x011B]) == picture.info["dpi"]
        assert tags[0x0112] == 1
        x, y = MOVES[orientation](12, 9, W - 1, H - 1)
        assert inner[0x9214] == (x, y, *((7, 5) if turned else (5, 7)))
        text = picture.info["xmp"].decode()
    assert 'tiff:Orientation="1"' in text
    assert f'exif:PixelXDimension="{size[0]}"' in text
    assert f'tiff:XResolution="{150 if turned else 300}/1"' in text


def test_a_result_of_another_size_says_its_own():
    photo = photo_of(1, FACE.format(AREAS["attributes"]) + OTHERS)
    larger = np.repeat(np.repeat(photo.pixels, 2, axis=0), 2, axis=1)
    back = decode(encode(larger, format="jpeg", like=photo))

    tags = PillowImage.Exif()
    tags.load(back.metadata.exif)
    assert (tags[0x0100], tags[0x0101]) == (96, 64)
    text = back.metadata.xmp.decode()
    assert 'tiff:ImageWidth="96"' in text
    assert 'stDim:w="96"' in text
    assert "SubjectArea" not in text


def test_previews_in_iptc_go_and_its_orientation_follows():
    block = iim((131, b"L"), (202, b"an old preview"), (25, b"kept"))
    photo = decode(jpeg([block], exif=exif(6)))

    assert tags.records(photo.metadata.iptc) == [(2, 131, b"P"), (2, 25, b"kept")]


def test_a_packet_that_cannot_be_parsed_is_still_marked_upright():
    broken = packet(SIZES)[:-20]
    photo = decode(jpeg([xmp_segment(broken)], exif=exif(6)))

    assert b'tiff:Orientation="1"' in photo.metadata.xmp


def test_long_data_sets_of_iptc_are_read_and_written():
    body = bytes(40_000)
    block = struct.pack(">BBBHI", 0x1C, 2, 120, 0x8004, len(body)) + body

    assert tags.iim_of(tags.records(block)) == block
    assert levels().shape == (H, W, 3)
