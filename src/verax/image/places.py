"""Removal of positions and names of places from a photo's metadata.

Properties of EXIF, XMP and IPTC are recognised by name and by value. The bytes of the written file
are then searched once more (`has_place`).
"""

import io
import re
import struct
import zlib
from dataclasses import replace

from PIL import Image as PillowImage

from verax.image import tags, xmp
from verax.image.contract import Metadata, Photo

EXIF_MARK = b"Exif\0\0"
MAKER_NOTE = 0x927C  # private layout; some cameras write the place there
WIDE_TEXTS = range(0x9C9B, 0x9CA0)  # Windows writes these as UTF-16

# parts of property names that name a place ("GpsLongtitude" is how some drones spell it)
PARTS = re.compile(
    r"gps|latit|longit|longtit|altit|elevation|location|locality|geotag|geohash|geodetic|geograph"
    r"|georef|geoname|geopos|geoloc|geopoint|city|country|province|county|municip|continent|island"
    r"|waterbody|coordinate|address|placename|worldregion|spatial|footprintwkt|what(?:three|3)words"
    r"|pluscode|postalcode|zipcode|suburb|district|neighbou?rhood|village|hamlet|landmark|venue"
    r"|georss|ciadr|coverage",
    re.IGNORECASE,
)
WORDS = {"lat", "lon", "lng", "geo", "rtk", "utm", "mgrs", "state", "poi", "place", "places"}
LAST = {"long", "alt", "position", "pos", "point", "town", "locationid"}
SPACES = re.compile(r"/geo/|geo/wgs84|georss|gml|/location|openlocation", re.IGNORECASE)

DEGREES = r"[-+]?\d{1,3}[.,]\d{3,}"
VALUES = re.compile(
    rf"""geo:{DEGREES}                                  # RFC 5870
    | [-+]\d{{2}}(?:\d\d){{0,2}}(?:\.\d+)?[-+]\d{{3}}(?:\d\d){{0,2}}(?:\.\d+)?[-+/]  # ISO 6709
    | \b\d{{1,3}},\d{{1,2}}(?:\.\d+|,\d{{1,2}}(?:\.\d+)?)\s*[NSEW]\b     # XMP: 48,8.5N
    | \d{{1,3}}\s*(?:°|º|deg)\s*\d                      # 48° 8' 30"
    | \d{{1,3}}\.\d{{3,}}\s*°?\s*[NSEWnsew]\b
    | \b[NSEW]\s*\d{{1,3}}\.\d{{3,}}
    | \bPOINT\s*Z?\s*\(
    | (?<![\d.]){DEGREES}\s*[,;/ ]\s*{DEGREES}(?![\d.])  # two numbers of many decimals
    | (?i:\b(?:lat|lon|lng|latitude|longitude|gps)\b)\W{{0,4}}[-+]?\d
    | maps\.(?:google|apple)\.|goo\.gl/maps|openstreetmap\.org|what3words
    """,
    re.VERBOSE,
)
BLOCK = re.compile(rb"II\*\0\x08\0\0\0|MM\0\*\0\0\0\x08")
NAMES_LEFT = re.compile(
    rb"gps_?-?lat|gps_?-?lon|gps_?-?alt|gps_?-?pos|latitude|longtitude|longitude|locationid"
    rb"|locationcreated|locationshown|absolutealtitude|relativealtitude|stateprovince",
    re.IGNORECASE,
)


def names_a_place(name: str) -> bool:
    """Whether a metadata property with this name, such as "GPSLatitude", describes a place."""
    if PARTS.search(name):
        return True
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    return bool(WORDS & set(words)) or bool(words and words[-1] in LAST)


def is_a_place(text: str) -> bool:
    """Whether a text holds geographic coordinates or a link to a map."""
    return bool(VALUES.search(text))


def without_places(photo: Photo) -> Photo:
    """The photo without positions and names of places in its metadata.

    Maker notes, texts and comments are removed completely, and so is every block that cannot be
    parsed, because none of these can be searched reliably.
    """
    old = photo.metadata
    exif, removals = _exif(old.exif) if old.exif else (None, [])
    packet, more = _packet(old.xmp) if old.xmp else (None, [])
    block, others = _iim(old.iptc) if old.iptc else (None, [])
    secrets = _digits([*removals, *more, *others])
    texts = [exif, packet, block]
    clear = [None if part and any(secret in part for secret in secrets) else part for part in texts]
    metadata = Metadata(
        icc=old.icc, exif=clear[0], xmp=clear[1], iptc=clear[2], dpi=old.dpi, colour=old.colour
    )
    return replace(photo, metadata=metadata)


def _exif(exif: bytes) -> tuple[bytes | None, list[str]]:
    """Rebuild an EXIF block without GPS, places and maker notes, so that no old bytes are left.

    Returns the new block, and as texts the coordinates and names that were removed; (None, []) if
    the block cannot be parsed.
    """
    block = exif.removeprefix(EXIF_MARK)
    removals: list[str] = []
    try:
        layout = tags.layout_of(block)
        tree = _tree_without(tags.tree(block, layout.first, layout), layout.order, removals)
        return tags.block_of(tree, order=layout.order), removals
    except (ValueError, struct.error):
        return None, []


def _tree_without(tree: tags.Tree, order: str, removals: list[str]) -> tags.Tree:
    rest: dict[int, tuple[int, int, bytes] | tags.Tree] = {}
    for tag, value in tree.items():
        if tag == tags.GPS_IFD:
            removals += _decimals(value, order)
        elif not isinstance(value, tuple):
            rest[tag] = _tree_without(value, order, removals)
        elif tag == MAKER_NOTE:
            continue
        elif value[0] in (1, 2, 7) and is_a_place(_as_text(tag, value[2])):
            removals.append(_as_text(tag, value[2]))
        else:
            rest[tag] = value
    return rest


def _as_text(tag: int, raw: bytes) -> str:
    return raw.decode("utf-16-le" if tag in WIDE_TEXTS else "utf-8", "replace")


def _decimals(gps: "tuple[int, int, bytes] | tags.Tree", order: str) -> list[str]:
    """Latitudes and longitudes of a GPS directory as texts in decimal degrees, without signs.

    `gps` is the directory by tag: (field type, count, raw value). `order` is the byte order, "<" or
    ">".
    """
    degrees = []
    for tag in (2, 4, 20, 22):
        value = None if isinstance(gps, tuple) else gps.get(tag)
        if isinstance(value, tuple) and len(value[2]) == 24:
            parts = struct.unpack(f"{order}6I", value[2])
            shares = [n / max(d, 1) for n, d in zip(parts[::2], parts[1::2], strict=True)]
            degrees.append(f"{shares[0] + shares[1] / 60 + shares[2] / 3600:.7f}")
    return degrees


def _packet(packet: bytes) -> tuple[bytes | None, list[str]]:
    document = xmp.parse(packet)
    if document is None:
        return None, []
    removals = xmp.remove(document, _says_where)
    cleaned = xmp.packet_of(document)
    return (None if NAMES_LEFT.search(cleaned) else cleaned), removals


def _says_where(space: str, name: str, text: str) -> bool:
    return names_a_place(name) or bool(SPACES.search(space)) or is_a_place(text)


def _iim(block: bytes) -> tuple[bytes | None, list[str]]:
    try:
        return tags.without_places(block, is_a_place)
    except (ValueError, struct.error):
        return None, []


def _digits(texts: list[str]) -> set[bytes]:
    """The decimal numbers in texts, cut to four decimals so that more exact copies match, too."""
    numbers = re.findall(r"\d{1,3}\.\d{4,}", " ".join(texts))
    return {number[: number.index(".") + 5].encode() for number in numbers}


def has_place(data: bytes, photo: Photo | None = None) -> bool:
    """Whether the bytes of a written picture file still say where the photo was taken.

    `photo` is the photo before the removal; the digits of its coordinates are searched for, too.
    """
    known = photo.metadata if photo is not None else Metadata()
    removals = [
        _exif(known.exif)[1] if known.exif else [],
        _packet(known.xmp)[1] if known.xmp else [],
    ]
    secrets = _digits([text for some in removals for text in some])
    return any(
        NAMES_LEFT.search(part) or any(secret in part for secret in secrets)
        for part in _parts(data)
    ) or _has_gps(data)


def _parts(data: bytes) -> list[bytes]:
    """The parts of a file that can hold metadata: in PNG and JPEG, everything except the pixels."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        parts, position = [], 8
        while position + 12 <= len(data):
            size, kind = struct.unpack_from(">I4s", data, position)
            body = data[position + 8 : position + 8 + size]
            if kind != b"IDAT":
                parts += [body, _inflate(body)]
            position += 12 + size
        return parts
    if data[:2] == b"\xff\xd8":
        return [data[: data.find(b"\xff\xda")]]
    return [data]


def _inflate(body: bytes) -> bytes:
    """Decompress the text in a PNG chunk; b"" if nothing in the chunk is compressed.

    A profile that is written as lines of hexadecimal digits is decoded to its bytes.
    """
    start = body.find(b"\x78", body.find(b"\0"))
    try:
        text = zlib.decompressobj().decompress(body[start:], 1 << 24) if start > 0 else b""
    except zlib.error:
        return b""
    lines = text.split(b"\n", 3)
    try:
        return bytes.fromhex(lines[3].decode().replace("\n", "")) if len(lines) == 4 else text
    except (ValueError, UnicodeDecodeError):
        return text


def _has_gps(data: bytes) -> bool:
    """Whether Pillow, as a second and independent reader, finds GPS data in a file's EXIF.

    If Pillow cannot read the file, every byte sequence that looks like an EXIF block is checked.
    """
    try:
        with PillowImage.open(io.BytesIO(data)) as picture:
            exif = picture.getexif()
            inner = exif.get_ifd(tags.EXIF_IFD)
            return tags.GPS_IFD in exif or tags.GPS_IFD in inner or bool(exif.get_ifd(tags.GPS_IFD))
    except Exception:  # noqa: BLE001  # readers raise anything
        return any(_points_at_gps(data[block.start() :]) for block in BLOCK.finditer(data))


def _points_at_gps(block: bytes) -> bool:
    try:
        layout = tags.layout_of(block)
        return tags.GPS_IFD in tags.directory(block, layout.first, layout).entries
    except (ValueError, struct.error):
        return False
