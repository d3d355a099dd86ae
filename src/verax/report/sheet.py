"""The report of restorations: a sheet with the pictures of each, and the index of a folder."""

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from verax.fusion.trust import CLASSES
from verax.geometry.register import Warped
from verax.image import Image, from_uint8, replace_file, to_uint8
from verax.restoration import Restoration

PANEL_WIDTH = 480
MARGIN = 12
CAPTION = 30
PAPER, INK = (250, 250, 248), (30, 30, 30)
# Colour-blind safe (Okabe and Ito, 2008), in the order of `verax.fusion.trust.CLASSES`.
TRUST_COLOURS = ((0, 114, 178), (0, 158, 115), (240, 228, 66), (213, 94, 0))
TRUST_LEGEND = "blue photo, green confirmed by both, yellow light of the prior, red generated"
INDEX_STYLE = (
    "body{font:16px/1.4 sans-serif;margin:2em;max-width:75em}"
    "img{max-width:100%}h2{font-size:1em;overflow-wrap:anywhere}.failed{color:#a00}"
)


def trust_picture(trust: NDArray[np.float16]) -> Image:
    """The trust map (H, W, 4 shares) as a picture in TRUST_COLOURS."""
    colours = np.array(TRUST_COLOURS, np.float32) / 255
    return np.asarray(np.clip(trust.astype(np.float32) @ colours, 0, 1), np.float32)


def restoration_sheet(restoration: Restoration, prior: Image | None) -> Image:
    """All the pictures of one restoration with captions and the result in words."""
    panels: list[tuple[str, Image]] = [("photo", restoration.photo.pixels)]
    if prior is not None and restoration.warped is not None:
        panels += [("prior", prior), ("prior on the photo's grid", shown(restoration.warped))]
    panels.append(("restoration", restoration.pixels))
    if prior is not None:
        panels.append(("trust map", trust_picture(restoration.trust)))
    return sheet(panels, words=in_words(restoration))


def shown(warped: Warped) -> Image:
    """The registered prior with grey where it shows nothing of the photo."""
    share = warped.valid[..., None]
    return np.asarray(warped.pixels * share + np.float32(0.5) * (1 - share), np.float32)


def in_words(restoration: Restoration) -> list[str]:
    """The lines of the text panel."""
    lines = [f"{restoration.photo.width} x {restoration.photo.height} pixels"]
    registration = restoration.registration
    if registration is not None:
        shares = restoration.trust.reshape(-1, len(CLASSES)).mean(0, dtype=np.float64)
        lines += [
            f"prior {restoration.prior}: {registration.reason}",
            f"p = {registration.p_value:.2g}, coverage {registration.coverage:.0%}",
            ", ".join(f"{name} {share:.0%}" for name, share in zip(CLASSES, shares, strict=True)),
            f"trust map: {TRUST_LEGEND}",
        ]
    return [*lines, *restoration.notes]


def sheet(panels: Sequence[tuple[str, Image]], *, words: Sequence[str], columns: int = 3) -> Image:
    """Captioned panels of equal width in rows, then a panel of text."""
    heights = [round(PANEL_WIDTH * p.shape[0] / p.shape[1]) for _, p in panels]
    row_height = max(heights) + CAPTION + MARGIN
    columns = min(columns, len(panels) + 1)
    rows = -(-(len(panels) + 1) // columns)
    page = PillowImage.new(
        "RGB",
        (columns * (PANEL_WIDTH + MARGIN) + MARGIN, rows * row_height + MARGIN),
        PAPER,
    )
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(17)
    for index, (caption, picture) in enumerate(panels):
        x, y = _corner(index, columns, row_height)
        small = cv2.resize(picture, (PANEL_WIDTH, heights[index]), interpolation=cv2.INTER_AREA)
        page.paste(PillowImage.fromarray(to_uint8(small)), (x, y + CAPTION))
        draw.text((x, y + 4), caption, INK, font)
    x, y = _corner(len(panels), columns, row_height)
    draw.multiline_text((x, y + CAPTION), _wrapped(words, font), INK, font, spacing=8)
    return from_uint8(np.asarray(page))


def _corner(index: int, columns: int, row_height: int) -> tuple[int, int]:
    row, column = divmod(index, columns)
    return MARGIN + column * (PANEL_WIDTH + MARGIN), MARGIN + row * row_height


def _wrapped(lines: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    out: list[str] = []
    for line in lines:
        current = ""
        for word in line.split():
            longer = f"{current} {word}".strip()
            if font.getlength(longer) > PANEL_WIDTH and current:
                out.append(current)
                longer = word
            current = longer
        out.append(current)
    return "\n".join(out)


def write_index(folder: Path, rows: Sequence[tuple[Path, Mapping[str, Any]]]) -> Path:
    """Write folder/index.html; `rows` are each photo's report folder and its JSON record."""
    parts = "".join(_index_row(folder, place, record) for place, record in rows)
    failed = sum("error" in record for _, record in rows)
    page = (
        f"<!doctype html><meta charset=utf-8><title>Restorations</title>"
        f"<style>{INDEX_STYLE}</style>"
        f"<h1>{len(rows) - failed} of {len(rows)} photos restored</h1>{parts}"
    )
    replace_file(folder / "index.html", page.encode(errors="backslashreplace"))
    return folder / "index.html"


def _index_row(folder: Path, place: Path, record: Mapping[str, Any]) -> str:
    name = html.escape(str(record["photo"]))
    if "error" in record:
        return f"<h2>{name}</h2><p class=failed>{html.escape(record['error'])}</p>"
    sheet = os.path.relpath(place / "sheet.png", folder).replace(os.sep, "/")
    notes = "".join(f"<br>{html.escape(note)}" for note in record["notes"])
    link = html.escape(quote(os.fsencode(sheet)), quote=True)
    summary = f"prior {html.escape(record['prior'])}, {record['seconds']:.1f} s{notes}"
    picture = f'<a href="{link}"><img loading=lazy src="{link}" alt=""></a>'
    return f"<h2>{name}</h2><p>{summary}</p>{picture}"
