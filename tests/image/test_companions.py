"""Nothing of a photo's file is lost without a word: kept, or named."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from handmade import chunk
from handmade_metadata import extension_segments, iim, jpeg, levels, packet, xmp_segment
from PIL import Image as PillowImage

from verax import image
from verax.image import decode, encode, tags, unkept, xmp

IPTC = iim((25, b"one"), (25, b"two"), (80, b"Example"), (116, b"(c) Example"), (131, b"L"))
MOVING = {
    "GCamera:MotionPhoto": "1",
    "GCamera:MicroVideo": "1",
    "GCamera:MicroVideoOffset": "4000",
    "hdrgm:Version": "1.0",
}
DIRECTORY = (
    '<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item '
    'Item:Mime="video/mp4" Item:Semantic="MotionPhoto" Item:Length="4000"/></rdf:li></rdf:Seq>'
    "</Container:Directory><dc:title>Kept</dc:title>"
)


def again(data, format):
    photo = decode(data)
    return photo, decode(encode(photo.pixels, format=format, like=photo))


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_nothing_announces_a_video_or_gain_map_that_is_not_there(format):
    video = b"\0\0\0\x18ftypmp42" + bytes(4000)
    data = jpeg([xmp_segment(packet(MOVING, DIRECTORY))], behind=jpeg() + video)
    photo, back = again(data, format)

    assert set(photo.lost) == {"a gain map (HDR)", "a video"}
    assert b"Kept" in back.metadata.xmp
    for word in (b"MotionPhoto", b"MicroVideo", b"hdrgm:", b"Container:", b"Item:"):
        assert word not in back.metadata.xmp.replace(b"xmlns:" + word, b"")


def test_thumbnails_of_the_old_picture_go():
    thumbnail = "<xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>"
    photo = decode(jpeg([xmp_segment(packet(inside=thumbnail + "<dc:title>Kept</dc:title>"))]))

    assert b"Thumbnails" not in photo.metadata.xmp
    assert b"Kept" in photo.metadata.xmp


def test_extended_xmp_is_kept_whole():
    long = "y" * 130_000
    name, pieces = extension_segments(packet({"dc:source": long}))
    main = packet({"xmpNote:HasExtendedXMP": name, "dc:format": "image/jpeg"})
    photo, back = again(jpeg([xmp_segment(main), *reversed(pieces)]), "jpeg")

    assert photo.lost == ()
    for one in (photo, back):
        assert long.encode() in one.metadata.xmp
        assert b"image/jpeg" in one.metadata.xmp
        assert b"HasExtendedXMP" not in one.metadata.xmp


def test_a_damaged_extension_is_named_and_its_pointer_goes():
    name, pieces = extension_segments(b"<not XML")
    main = packet({"xmpNote:HasExtendedXMP": name, "dc:format": "image/jpeg"})
    photo = decode(jpeg([xmp_segment(main), *pieces]))

    assert photo.lost == ("extended XMP, which is damaged",)
    assert b"HasExtendedXMP" not in photo.metadata.xmp


def test_a_packet_too_long_for_a_segment_is_split_with_small_properties_first():
    inside = "".join(f"<dc:source{n}>{'x' * 40_000}</dc:source{n}>" for n in range(3))
    photo = image.from_array(np.full((16, 16, 3), 0.5, np.float32))
    held = image.Metadata(xmp=packet({"dc:format": "small"}, inside))
    data = encode(photo.pixels, format="jpeg", like=image.Photo(photo.pixels, metadata=held))

    with PillowImage.open(io.BytesIO(data)) as picture:
        assert b"small" in picture.info["xmp"]
        assert b"HasExtendedXMP" in picture.info["xmp"]
    assert decode(data).metadata.xmp.count(b"x" * 40_000) == 3


@pytest.mark.parametrize("format", ["jpeg", "tiff", "png"])
def test_iptc_is_kept(format):
    photo, back = again(jpeg([IPTC]), format)

    assert back.metadata.iptc == photo.metadata.iptc
    assert (2, 116, b"(c) Example") in tags.records(back.metadata.iptc)
    assert unkept(photo, format) == ()


def test_iptc_in_other_formats_is_named():
    photo = decode(jpeg([IPTC, (0xFE, b"my comment")]))

    assert unkept(photo, "webp") == ("IPTC", "the comment")
    assert unkept(photo, "jpeg") == ()
    assert decode(encode(photo.pixels, format="jpeg", like=photo)).metadata.comment == b"my comment"


def test_iptc_of_a_tiff_is_read_from_its_tag_and_from_photoshop():
    block = decode(jpeg([IPTC])).metadata.iptc
    for tag, body in ((33723, block), (34377, tags.photoshop(block))):
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer, levels(), photometric="rgb", extratags=[(tag, 7, None, body, True)]
        )
        assert decode(buffer.getvalue()).metadata.iptc == block


def test_further_channels_and_private_tags_of_a_tiff_are_named():
    deep = np.dstack([levels(), levels()[..., :2]])
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, deep, photometric="rgb", extrasamples=[2, 0],
        extratags=[(33550, 12, 3, (1.0, 1.0, 0.0), True), (37724, 7, None, b"layers", True)],
    )  # fmt: skip
    assert set(decode(buffer.getvalue()).lost) == {
        "Photoshop layers", "1 further channels", "TIFF tags 33550",
    }  # fmt: skip


def test_png_texts_are_kept_and_unknown_chunks_are_named():
    data = encode(image.from_uint8(levels()))
    more = chunk(b"tEXt", b"Author\0Example") + chunk(b"iTXt", b"Title\0\0\0\0\0\xc3\x84")
    data = data[:33] + more + chunk(b"teSt", b"private") + data[33:]
    photo, back = again(data, "png")

    assert photo.lost == ("a chunk teSt",)
    assert back.metadata.texts == photo.metadata.texts
    with PillowImage.open(io.BytesIO(encode(photo.pixels, like=photo))) as picture:
        assert (picture.text["Author"], picture.text["Title"]) == ("Example", "Ä")
    assert "texts (PNG)" in unkept(photo, "jpeg")


def test_profiles_that_other_tools_hide_in_png_texts_are_read():
    block = decode(jpeg([IPTC])).metadata.iptc
    text = b"\niptc\n%8d\n%s\n" % (len(block), block.hex().encode())
    hidden = chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text))
    data = encode(image.from_uint8(levels()))

    assert decode(data[:33] + hidden + data[33:]).metadata.iptc == block


def test_what_a_format_cannot_hold_is_named():
    alpha = np.ones((16, 16), np.float32)
    photo = image.Photo(np.full((16, 16, 3), 0.5, np.float32), alpha, bit_depth=16)

    assert unkept(photo, "jpeg") == ("alpha", "16 bits per channel (now 8)")
    assert unkept(photo, "png") == ()


def test_an_application_block_of_no_standard_is_named():
    photo = decode(jpeg([(0xE4, b"SAMSUNG\0" + bytes(20))], behind=b"some trailer"))

    assert photo.lost == ("a block APP4 SAMSUNG", "12 bytes behind the picture")


def test_broken_photoshop_blocks_do_not_stop_reading():
    for body in (b"8BIM", b"8BIM\x04\x04\0\0\xff\xff\xff\xff", b"8BIM\x04\x04\xff", b"\x1c\x02"):
        decode(jpeg([(0xED, b"Photoshop 3.0\0" + body)]))
    assert xmp.parse(struct.pack(">I", 7)) is None
