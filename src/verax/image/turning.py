"""Updates metadata that hold positions or sizes in px when a picture is turned or resized.

These are regions, subject areas, sizes and resolutions. `turn` is the EXIF orientation, 1..8, by
which the stored picture is turned upright. Sources: EXIF 2.32 (CIPA DC-008), MWG guidelines 2.0
(regions), IPTC photo metadata 2023.2 (image regions).
"""

import re
from collections.abc import Callable
from xml.dom.minidom import Attr, Document, Element

from verax.image import xmp
from verax.image.xmp import RDF

Point = tuple[float, float]
Size = tuple[float, float]
Fields = dict[str, Attr | Element]

# by EXIF orientation: stored point (x, y) and stored size (w, h) to the upright point
MOVES: dict[int, Callable[[float, float, float, float], Point]] = {
    1: lambda x, y, w, h: (x, y),
    2: lambda x, y, w, h: (w - x, y),
    3: lambda x, y, w, h: (w - x, h - y),
    4: lambda x, y, w, h: (x, h - y),
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, h: (y, w - x),
}
PAIRS = [  # properties whose values are swapped by a quarter turn
    ("ImageWidth", "ImageLength"),
    ("PixelXDimension", "PixelYDimension"),
    ("XResolution", "YResolution"),
    ("FocalPlaneXResolution", "FocalPlaneYResolution"),
]
SIZES = ("ImageWidth", "PixelXDimension"), ("ImageLength", "PixelYDimension")
TIFF, EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"


def subject(numbers: tuple[int, ...], turn: int, size: Size) -> tuple[int, ...]:
    """Turn an EXIF subject area by the EXIF orientation `turn`, 1..8; returns the turned area.

    `numbers` and the result are px: the centre's x and y, then nothing (a point), a diameter (a
    circle), or width and height (a rectangle). `size` is (width, height) of the picture before
    turning.
    """
    if len(numbers) < 2:
        return numbers
    # the numbers are pixel indices, so the largest is the side's length less one
    x, y = MOVES[turn](numbers[0], numbers[1], size[0] - 1, size[1] - 1)
    sides = numbers[2:][::-1] if turn >= 5 else numbers[2:]
    return max(int(x), 0), max(int(y), 0), *sides


def turn_packet(packet: bytes, turn: int, size: Size) -> bytes:
    """Update an XMP packet for a picture that was turned by the EXIF orientation `turn`.

    Regions and subject areas are turned, the orientation is set to 1, and after a quarter turn
    widths and heights are swapped. `size` is (width, height) in px before turning.
    """
    document = xmp.parse(packet)
    if document is None:
        return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>\s*))[2-8]", rb"\g<1>1", packet)
    for element in list(xmp.elements(document)):
        _turn_struct(element, turn, size)
        fields = _own_fields(element)
        if "Orientation" in fields and _space(fields["Orientation"]) == TIFF:
            _set(fields["Orientation"], "1")
        if turn >= 5:
            for pair in PAIRS:
                _swap(fields, *pair)
    return xmp.packet_of(document)


def _turn_struct(element: Element, turn: int, size: Size) -> None:
    name, own = element.localName or "", _own_fields(element)
    fields = own | _nested_fields(element)
    if name.endswith("Dimensions") and turn >= 5:
        _swap(fields, "w", "h")
    elif name.endswith("Area") and {"x", "y"} <= set(fields):
        _turn_area(fields, turn, size)
    elif name in ("SubjectArea", "SubjectLocation"):
        _turn_subject(element, turn, size)
    elif {"rbX", "rbY"} <= set(own):
        _turn_boundary(own, turn, size, size if _unit(element) == "pixel" else (1.0, 1.0))
    if "Rectangle" in own:  # Microsoft: "x, y, w, h" from the upper left, shares of the sides
        corner = _numbers(_get(own["Rectangle"]))
        if len(corner) == 4:
            values = _corner(corner, turn, (1.0, 1.0))
            _set(own["Rectangle"], ", ".join(map(_text, values)))


def _turn_area(fields: Fields, turn: int, size: Size) -> None:
    """Turn the area of an MWG region in place; it is in px or in fractions of the sides.

    `fields`: its x, y, w, h and unit by name. `turn`: EXIF orientation, 1..8. `size`:
    (width, height) of the picture in px before turning.
    """
    unit = _get(fields["unit"]) if "unit" in fields else "normalized"
    whole = size if unit.startswith("pixel") else (1.0, 1.0)
    centre = _numbers(f"{_get(fields['x'])} {_get(fields['y'])}")
    if len(centre) != 2:
        return
    x, y = centre
    _set_point(fields, "x", "y", MOVES[turn](x, y, *whole))
    if turn >= 5:
        _swap(fields, "w", "h")


def _turn_boundary(fields: Fields, turn: int, size: Size, whole: Size) -> None:
    """Turn an IPTC region boundary in place: a rectangle, a circle, or one vertex of a polygon.

    Args:
        fields: its properties, such as rbX and rbY, by name.
        turn: EXIF orientation, 1..8.
        size: (width, height) of the picture in px before turning.
        whole: the same as `size` if the boundary is in px; (1, 1) if it is in fractions of the
            sides.
    """
    names = ("rbX", "rbY", "rbW", "rbH")
    values = _numbers(" ".join(_get(fields[name]) for name in names if name in fields))
    if len(values) == 4:
        for name, value in zip(names, _corner(values, turn, whole), strict=True):
            _set(fields[name], _text(value))
    elif len(values) == 2:
        x, y = values
        _set_point(fields, "rbX", "rbY", MOVES[turn](x, y, *whole))
    if "rbRx" in fields and turn >= 5 and whole == (1.0, 1.0):
        for radius in _numbers(_get(fields["rbRx"])):  # a fraction of the width, now another side
            _set(fields["rbRx"], _text(radius * size[0] / size[1]))


def _unit(element: Element) -> str:
    """The unit ("pixel" or "relative") of an IPTC region boundary or of a vertex in one."""
    node: object = element
    while isinstance(node, Element):
        fields = _own_fields(node)
        if "rbUnit" in fields:
            return _get(fields["rbUnit"])
        node = node.parentNode
    return "relative"


def _turn_subject(element: Element, turn: int, size: Size) -> None:
    items = element.getElementsByTagNameNS(RDF, "li")
    plain = _numbers(xmp.text_of(element))
    values = subject(tuple(int(value) for value in plain), turn, size)
    if len(items) == len(values):
        for item, value in zip(items, values, strict=True):
            _set(item, str(value))
    elif not items:
        _set(element, " ".join(map(str, values)))


def _corner(rectangle: list[float], turn: int, whole: Size) -> tuple[float, ...]:
    """Turn a rectangle [left, top, width, height]; returns it in the same form.

    `turn` is an EXIF orientation, 1..8. `whole` is (width, height) of the picture before turning if
    the rectangle is in px, and (1, 1) if it is in fractions of the sides.
    """
    x, y, w, h = rectangle
    cx, cy = MOVES[turn](x + w / 2, y + h / 2, *whole)
    w, h = (h, w) if turn >= 5 else (w, h)
    return cx - w / 2, cy - h / 2, w, h


def resize_packet(packet: bytes, old: tuple[int, int], new: tuple[int, int]) -> bytes:
    """Update an XMP packet for a picture that was resized from `old` to `new` (width, height).

    Sizes in px are changed. Subject areas are removed, since they are in px of the old picture.
    """
    document = xmp.parse(packet)
    if document is None:
        return packet
    changed = False
    for element in list(xmp.elements(document)):
        fields = _own_fields(element) | _nested_fields(element)
        for names, side in zip(SIZES, new, strict=True):
            for name in names:
                if name in fields and _space(fields[name]) in (TIFF, EXIF):
                    changed |= _set(fields[name], str(side))
        if (element.localName or "").endswith("AppliedToDimensions") and old != new:
            sides = _numbers(" ".join(_get(fields[side]) for side in ("w", "h") if side in fields))
            if sides == [*map(float, old)]:
                changed |= _set_point(fields, "w", "h", new)
        if (
            element.localName in ("SubjectArea", "SubjectLocation")
            and old != new
            and element.parentNode
        ):
            element.parentNode.removeChild(element)  # in pixels of the old picture
            changed = True
    return xmp.packet_of(document) if changed else packet


def _nested_fields(element: Element) -> Fields:
    """The fields, by local name, that are written in an rdf:Description inside an XML element."""
    fields: Fields = {}
    if element.namespaceURI != RDF:
        for child in element.childNodes:
            if isinstance(child, Element) and child.localName == "Description":
                fields |= _own_fields(child)
    return fields


def _own_fields(element: Element) -> Fields:
    """The attributes and child elements of an XML element, by local name, without those of RDF."""
    fields: Fields = {
        a.localName or a.name: a
        for a in element.attributes.values()
        if not a.name.startswith("xmlns") and a.namespaceURI != RDF
    }
    for child in element.childNodes:
        if isinstance(child, Element) and child.namespaceURI != RDF:
            fields[child.localName or ""] = child
    return fields


def _get(node: Attr | Element) -> str:
    return (xmp.text_of(node) if isinstance(node, Element) else node.value).strip()


def _set(node: Attr | Element, value: str) -> bool:
    """Set the text of an attribute or element; returns False if it had this text already."""
    if _get(node) == value:
        return False
    if isinstance(node, Element):
        document = node.ownerDocument
        assert isinstance(document, Document)
        for child in list(node.childNodes):
            node.removeChild(child)
        node.appendChild(document.createTextNode(value))
    else:
        node.value = value
    return True


def _set_point(fields: Fields, x: str, y: str, point: Point) -> bool:
    values = [_set(fields[name], _text(value)) for name, value in zip((x, y), point, strict=True)]
    return any(values)


def _swap(fields: Fields, one: str, other: str) -> None:
    if one in fields and other in fields:
        first, second = _get(fields[one]), _get(fields[other])
        _set(fields[one], second)
        _set(fields[other], first)


def _space(node: Attr | Element) -> str:
    return node.namespaceURI or ""


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?", text)]


def _text(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".") or "0"
