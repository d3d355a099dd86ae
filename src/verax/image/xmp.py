"""Parsing, editing and writing of XMP packets.

Source: XMP specification (ISO 16684-1), parts 1 and 3; extended XMP in JPEG is in part 3, 1.1.3.1.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from xml.dom import minidom
from xml.dom.minidom import Document, Element
from xml.parsers.expat import ExpatError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NOTE = "http://ns.adobe.com/xmp/note/"
MOST_XMP = 1 << 20  # bytes; larger packets hold embedded pictures
_HEAD = '<?xml version="1.0" ?>'
_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"/></x:xmpmeta>'

# names of properties that describe further parts of the file, which a new file does not have
ANNOUNCING = re.compile(
    r"motionphoto|microvideo|livephoto|gainmap|hdrgm|depthmap|videolength|videooffset",
    re.IGNORECASE,
)
ANNOUNCING_SPACES = (
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.apple.com/HDRGainMap/",
    "http://ns.apple.com/pixeldatainfo/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/1.0/audio/",
    "http://ns.google.com/photos/1.0/focus/",
    "http://ns.google.com/photos/dd/",
)
THUMBNAILS = re.compile(r"^Thumbnails?$|^thumbnail", re.IGNORECASE)

Selector = Callable[[str, str, str], bool]  # (namespace, local name, text) -> whether to remove it


def parse(packet: bytes) -> Document | None:
    """Parse an XMP packet; None if it is malformed, over 1 MiB, or has a DTD or entities."""
    if len(packet) > MOST_XMP:
        return None
    packet = packet.strip(b"\0 \r\n\t")
    try:
        if b"\0" in packet[:4]:  # UTF-16 or UTF-32, in which searches for ASCII text would fail
            packet = packet.decode("utf-16").encode()
        if b"<!" in packet.replace(b"<!--", b""):
            return None
        return minidom.parseString(packet)
    except (ExpatError, ValueError, LookupError):
        return None


def packet_of(document: Document) -> bytes:
    """The XMP packet, in UTF-8, of a parsed document."""
    return document.toxml().removeprefix(_HEAD).encode()


def elements(document: Document) -> Iterator[Element]:
    yield from document.getElementsByTagName("*")


def descriptions(document: Document) -> list[Element]:
    """The rdf:Description elements of an XMP document that hold its top-level properties."""
    return [
        child
        for root in document.getElementsByTagNameNS(RDF, "RDF")
        for child in root.childNodes
        if isinstance(child, Element) and child.localName == "Description"
    ]


def text_of(element: Element) -> str:
    """The text of an element and its descendants, joined by spaces."""
    parts = []
    for child in element.childNodes:
        if isinstance(child, Element):
            parts.append(text_of(child))
        elif child.nodeType in (child.TEXT_NODE, child.CDATA_SECTION_NODE):
            parts.append(child.data)
    return " ".join(parts)


def remove(document: Document, selects: Selector) -> list[str]:
    """Remove elements and attributes from a document in place; returns their texts.

    `selects` says whether to remove one; it is called with its namespace, local name and text.
    """
    removed = []
    for element in list(elements(document)):
        space, name = element.namespaceURI or "", element.localName or ""
        if space != RDF and element.parentNode and selects(space, name, ""):
            removed += [text_of(element), *attribute_values(element)]
            element.parentNode.removeChild(element)
    for element in list(elements(document)):
        for attribute in list(element.attributes.values()):
            space, name = attribute.namespaceURI or "", attribute.localName or ""
            if space in (RDF, "http://www.w3.org/2000/xmlns/") or attribute.name[:5] == "xmlns":
                continue
            if selects(space, name, attribute.value):
                removed.append(attribute.value)
                element.removeAttributeNode(attribute)
        own = "".join(c.data for c in element.childNodes if c.nodeType == c.TEXT_NODE)
        if own.strip() and element.parentNode and selects("", "", own):
            removed.append(own)
            element.parentNode.removeChild(element)
    return removed


def attribute_values(element: Element) -> list[str]:
    """The values of all attributes of an element and its descendants."""
    values = [attribute.value for attribute in element.attributes.values()]
    for child in element.getElementsByTagName("*"):
        values += [attribute.value for attribute in child.attributes.values()]
    return values


def announces(space: str, name: str, _: str) -> bool:
    """Whether a property is about a gain map, depth map, video or sound; a selector for `remove`.

    `space` is the property's namespace, `name` its local name; its text does not matter.
    """
    return bool(ANNOUNCING.search(name)) or space.startswith(ANNOUNCING_SPACES)


def shows_the_old_picture(_: str, name: str, __: str) -> bool:
    """Whether a property with the local name `name` holds a thumbnail; a selector for `remove`.

    The property's namespace and text do not matter."""
    return bool(THUMBNAILS.match(name))


def without_companions(packet: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Remove thumbnails, and properties of a gain map, video or depth map, from an XMP packet.

    Returns the new packet, and in words which of these three it described. If nothing is removed or
    the packet cannot be parsed, returns the packet unchanged, and ().
    """
    document = parse(packet)
    if document is None:
        return packet, ()
    names = {
        "a gain map (HDR)": r"gainmap|hdrgm|hdr-gain-map",
        "a video": r"motionphoto|microvideo|livephoto|video/",
        "a depth map": r"depthmap",
    }
    text = packet.decode("utf-8", "replace")
    parts = tuple(part for part, sign in names.items() if re.search(sign, text, re.IGNORECASE))
    removals = remove(document, announces) + remove(document, shows_the_old_picture)
    return (packet_of(document), parts) if removals else (packet, ())


def merge(packet: bytes | None, extension: bytes) -> bytes | None:
    """Merge a main XMP packet and its extension to one packet; None if either cannot be parsed.

    JPEG limits a packet to 64 KB; what does not fit is stored in an extension (extended XMP). The
    pointer from the packet to the extension is removed. Without a packet an empty one is used.
    """
    document, more = parse(packet or _EMPTY.encode()), parse(extension)
    if document is None or more is None:
        return None
    roots = document.getElementsByTagNameNS(RDF, "RDF")
    if not roots:
        return None
    for description in descriptions(more):
        copy = document.importNode(description, deep=True)
        for ancestor in _ancestors(description):
            for attribute in ancestor.attributes.values():
                if attribute.name.startswith("xmlns") and not copy.hasAttribute(attribute.name):
                    copy.setAttribute(attribute.name, attribute.value)
        roots[0].appendChild(copy)
    remove(document, _points_at_extension)
    return packet_of(document)


def without_pointer(packet: bytes) -> bytes:
    """The XMP packet without its pointer to an extension that is missing."""
    document = parse(packet)
    if document is None:
        return re.sub(rb"\s*xmpNote:HasExtendedXMP\s*=\s*(\"[^\"]*\"|'[^']*')", b"", packet)
    return packet_of(document) if remove(document, _points_at_extension) else packet


def _points_at_extension(space: str, name: str, _: str) -> bool:
    return space == NOTE and name == "HasExtendedXMP"


def _ancestors(element: Element) -> Iterator[Element]:
    parent = element.parentNode
    while isinstance(parent, Element):
        yield parent
        parent = parent.parentNode


def split(packet: bytes, most: int) -> tuple[bytes, bytes, str] | None:
    """Split an XMP packet into a main packet of at most `most` bytes and an extension.

    Returns (main packet, extension, the extension's name: its MD5 hash in capital hexadecimal
    digits). The largest properties go into the extension. None if the packet cannot be parsed or
    made small enough.
    """
    document, rest = parse(packet), parse(_EMPTY.encode())
    if document is None or rest is None or not descriptions(document):
        return None
    root = rest.getElementsByTagNameNS(RDF, "RDF")[0]
    size = len(packet)
    for length, owner, node in sorted(_properties(document), key=lambda p: -p[0]):
        if size <= most - 400:  # room for the pointer and padding
            break
        target = root.appendChild(_shell(rest, owner))
        if isinstance(node, Element):
            target.appendChild(rest.importNode(node, deep=True))
            owner.removeChild(node)
        else:
            target.setAttributeNS(node.namespaceURI, node.name, node.value)
            owner.removeAttributeNode(node)
        size -= length
    extension = packet_of(rest)
    name = hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()
    first = descriptions(document)[0]
    first.setAttribute("xmlns:xmpNote", NOTE)
    first.setAttributeNS(NOTE, "xmpNote:HasExtendedXMP", name)
    main = re.sub(rb"\s{100,}", b"\n", packet_of(document))  # padding for editing in place
    return (main, extension, name) if len(main) <= most else None


def _properties(document: Document) -> Iterator[tuple[int, Element, minidom.Attr | Element]]:
    """Yield each top-level property: size in bytes, its rdf:Description and the property itself."""
    for owner in descriptions(document):
        for child in owner.childNodes:
            if isinstance(child, Element):
                yield len(child.toxml().encode()), owner, child
        for attribute in owner.attributes.values():
            if not attribute.name.startswith(("xmlns", "rdf:")):
                yield len(attribute.value.encode()), owner, attribute


def _shell(document: Document, owner: Element) -> Element:
    """An empty rdf:Description, to be put in `document`, with the namespace declarations and the
    rdf:about of the element `owner` of another document."""
    shell = document.createElementNS(RDF, "rdf:Description")
    for element in (*_ancestors(owner), owner):
        for attribute in element.attributes.values():
            if attribute.name.startswith("xmlns") or attribute.localName == "about":
                shell.setAttribute(attribute.name, attribute.value)
    return shell
