"""Simulate an image generator: inject known deviations into a clean photo.

`Deviations` holds the exact amounts. By default nothing changes, so that single deviations can be
injected to test a measurement. `inject` returns the changed picture with its ground truth. It
applies deviations in this order: objects, texture, remaining degradation, warp onto the prior's
grid, tone, sharpening, JPEG.

Points are (x, y); the centre of the top-left pixel is (0, 0). The ground truth of the warp is a
matrix from prior px to photo px and a field of local displacements in photo px. What the photo
shows at pixel p, the prior shows at inverse(matrix) @ (p + field[p]).
"""

from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import smooth_noise
from verax.degrade.sensor import compress
from verax.errors import SettingsError, SizeMismatchError
from verax.geometry.canvas import centre_matrix
from verax.image import Image, check_image
from verax.priors.changes import (
    InjectedChange,
    ObjectEdit,
    Tone,
    edit,
    enlarge,
    resynthesise,
    retone,
    sharpen,
)

Canvas = Literal["stretch", "crop", "outpaint", "letterbox"]
Matrix = NDArray[np.float64]
Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Deviations:
    """Exact amounts of the deviations to inject; the defaults change nothing.

    Attributes:
        size: (width, height) of the prior; None: that of the photo.
        canvas: how the photo is brought to this size: "stretch" scales each axis, "crop" cuts off
            margins, "outpaint" adds margins by reflection, "letterbox" adds black bars.
        shift_x, shift_y: how far right and down the prior must be moved to lie on the photo, as
            shares of the photo's width and height.
        scale_x, scale_y: factors by which the prior must be enlarged, about the photo's centre, to
            lie on the photo.
        rotation_deg: degrees by which the prior must be rotated, clockwise on screen, to lie on the
            photo.
        perspective_x, perspective_y: how far perspective moves the photo's corners, approximately,
            as shares of the photo's width and height.
        local: median length of a smooth local displacement, as a share of the photo's width.
        local_cells: how often the local displacement varies along the short side.
        objects: objects to add, remove, move, duplicate or mirror.
        texture: share of the fine detail that is replaced by invented detail, 0 to 1.
        texture_px: fine detail is the photo minus its Gaussian blur by this many photo px.
        sharpening: strength of an unsharp mask on the whole prior, 0 for none.
        tone: change of light and colour.
        residual: mean weight, 0 to 1, with which the degraded photo is blended into the prior.
        jpeg_quality: quality of JPEG compression, 1 to 100; None: no compression.
    """

    size: tuple[int, int] | None = None
    canvas: Canvas = "stretch"
    shift_x: float = 0.0
    shift_y: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0
    rotation_deg: float = 0.0
    perspective_x: float = 0.0
    perspective_y: float = 0.0
    local: float = 0.0
    local_cells: float = 4.0
    objects: tuple[ObjectEdit, ...] = ()
    texture: float = 0.0
    texture_px: float = 2.0
    sharpening: float = 0.0
    tone: Tone = field(default_factory=Tone)
    residual: float = 0.0
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        if min(self.scale_x, self.scale_y, self.texture_px, self.local_cells) <= 0:
            raise SettingsError(
                "Deviations: expected scale_x, scale_y, texture_px and local_cells above 0, got "
                f"{self.scale_x}, {self.scale_y}, {self.texture_px} and {self.local_cells}"
            )
        if self.size is not None and min(self.size) < 1:
            raise SettingsError(f"Deviations: expected a size of at least 1x1, got {self.size}")


@dataclass(frozen=True, slots=True)
class SimulatedPrior:
    """A simulated prior with its ground truth.

    Attributes:
        prior: the picture (H', W', 3), which can have another size than the photo (H, W, 3).
        matrix: (3, 3) float64, maps prior px to photo px.
        field: (H, W, 2) float32, local displacement (dx, dy) in photo px; None if it is zero. The
            prior shows the content of photo pixel p at inverse(matrix) @ (p + field[p]).
        objects: the changes of objects, with masks on the photo's grid.
        kind: "same" if the prior shows the same scene as the photo, "foreign" if it shows another
            scene, "photo" if it is the degraded photo itself.
        deviations: the amounts that were injected.
    """

    prior: Image
    matrix: Matrix
    field: Field | None
    objects: tuple[InjectedChange, ...]
    kind: Literal["same", "foreign", "photo"]
    deviations: Deviations


def inject(
    clean: Image, deviations: Deviations, *, seed: int, degraded: Image | None = None
) -> SimulatedPrior:
    """Simulate a prior: the clean photo with exactly these deviations, and the ground truth.

    The same arguments give the same result. `degraded` is the degraded version of the clean photo,
    of the same size. It is blended into the prior with the mean weight `deviations.residual`; None:
    it is not.
    """
    check_image(clean, name="clean")
    if degraded is not None and degraded.shape != clean.shape:
        raise SizeMismatchError(
            f"degraded: expected the shape {clean.shape} of the clean photo, got {degraded.shape}; "
            "pass the degraded version of the same photo"
        )
    height, width = clean.shape[:2]
    size = deviations.size or (width, height)
    matrix = drift_matrix(deviations, (width, height)) @ centre_matrix(
        (width, height), size, deviations.canvas
    )
    grid = working_grid((width, height), matrix)
    scene = _resize(clean, grid)
    left = None if degraded is None else _resize(degraded, grid)
    streams = np.random.default_rng(seed).spawn(5)  # independent of each other
    field = local_field(grid, deviations, streams[0])
    scene, objects = edit(scene, deviations.objects, streams[1])
    if deviations.texture > 0:
        cutoff = deviations.texture_px * grid[0] / width
        scene = resynthesise(scene, streams[2], share=deviations.texture, sigma_px=cutoff)
    if deviations.residual > 0 and left is not None:
        scene = _leave_traces(scene, left, deviations.residual, streams[3])
    to_grid = centre_matrix(grid, (width, height), "stretch")
    letterbox = deviations.canvas == "letterbox"
    prior = _warp(scene, to_grid @ matrix, field, size, letterbox=letterbox)
    prior = retone(prior, deviations.tone, streams[4])
    if deviations.sharpening > 0:
        prior = sharpen(prior, deviations.sharpening)
    if deviations.jpeg_quality is not None:
        prior = compress(prior, deviations.jpeg_quality, full_chroma=True)
    field = _field_on((width, height), field)
    objects = tuple(enlarge(change, (width, height)) for change in objects)
    return SimulatedPrior(prior, matrix, field, objects, "same", deviations)


def drift_matrix(d: Deviations, photo: tuple[int, int]) -> Matrix:
    """The matrix (3, 3) of the shift, scale, rotation and perspective in the deviations `d`.

    It maps px of a prior that has the photo's size to px of the photo. `photo` is the photo's
    (width, height).
    """
    width, height = photo
    angle = np.deg2rad(d.rotation_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    px, py = 4 * d.perspective_x / width, 4 * d.perspective_y / height
    to_centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    turn = np.array([[cos * d.scale_x, -sin * d.scale_y, 0], [sin * d.scale_x, cos * d.scale_y, 0]])
    project = np.vstack([turn, [px, py, 1]])
    back = np.array([[1, 0, d.shift_x * width], [0, 1, d.shift_y * height], [0, 0, 1]])
    return np.asarray(np.linalg.inv(to_centre) @ back @ project @ to_centre, np.float64)


def local_field(photo: tuple[int, int], d: Deviations, rng: Generator) -> Field | None:
    """A random smooth field (H, W, 2) of displacements (dx, dy) in px; None if `d.local` is 0.

    Their median length is `d.local` times the photo's width. `photo` is (width, height).
    """
    if d.local <= 0:
        return None
    width, height = photo
    parts = [
        smooth_noise((height, width), rng, cells=d.local_cells)
        + np.float32(0.25) * smooth_noise((height, width), rng, cells=2.5 * d.local_cells)
        for _ in range(2)
    ]
    field = np.stack(parts, 2)
    length = float(np.median(np.hypot(field[..., 0], field[..., 1])))
    return np.asarray(field * (d.local * width / max(length, 1e-9)), np.float32)


def _warp(
    scene: Image, matrix: Matrix, field: Field | None, size: tuple[int, int], *, letterbox: bool
) -> Image:
    """Warp the changed photo `scene` (h, w, 3) to the prior's grid of `size` (width, height).

    `matrix` maps prior px to scene px. `field` (dx, dy) is a local displacement in scene px on the
    scene's grid; None for none. `letterbox` makes the prior black outside the scene; otherwise the
    scene is reflected there.
    """
    height, width = scene.shape[:2]
    if field is None and (width, height) == size and np.allclose(matrix, np.eye(3), atol=1e-9):
        return scene
    x, y = _photo_points(matrix, size)
    if field is not None:
        x, y = _undo_field(x, y, field)
    border = cv2.BORDER_CONSTANT if letterbox else cv2.BORDER_REFLECT
    prior = cv2.remap(scene, x, y, cv2.INTER_CUBIC, borderMode=border)
    return np.asarray(np.clip(prior, 0.0, 1.0), np.float32)


def working_grid(photo: tuple[int, int], matrix: Matrix) -> tuple[int, int]:
    """The (width, height) to which the photo is resized before deviations are applied.

    This is the size of `photo`, unless the prior shows the photo at a smaller scale; then the photo
    is reduced to that scale, against aliasing. `matrix` maps prior px to photo px.
    """
    step = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))  # photo px per prior px
    if step < 1.25:
        return photo
    return max(1, round(photo[0] / step)), max(1, round(photo[1] / step))


def _resize(picture: Image, size: tuple[int, int]) -> Image:
    if picture.shape[1::-1] == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _field_on(photo: tuple[int, int], field: Field | None) -> Field | None:
    """Resize a displacement field (h, w, 2) to the size of `photo` (width, height).

    Displacements are converted from px of the field's grid to photo px. None stays None.
    """
    if field is None or field.shape[1::-1] == photo:
        return field
    scale = np.array([photo[0] / field.shape[1], photo[1] / field.shape[0]], np.float32)
    return np.asarray(cv2.resize(field, photo, interpolation=cv2.INTER_LINEAR) * scale)


def _photo_points(matrix: Matrix, size: tuple[int, int]) -> tuple[Field, Field]:
    """The points to which `matrix` maps the pixels of a grid of `size` (width, height).

    Returns their x and their y, each (height, width).
    """
    qx = np.arange(size[0], dtype=np.float64)[None, :]
    qy = np.arange(size[1], dtype=np.float64)[:, None]
    u, v, w = (row[0] * qx + row[1] * qy + row[2] for row in matrix)
    return (u / w).astype(np.float32), (v / w).astype(np.float32)


def _undo_field(x: Field, y: Field, field: Field) -> tuple[Field, Field]:
    """The points p for which p + field[p] is (x, y), found by fixed-point iteration.

    `x` and `y` hold the coordinates of one point for each pixel of the prior; `field` (h, w, 2)
    holds displacements (dx, dy), in the same px as the points. Returns the x and the y of p, each
    with the shape of `x`.
    """
    px, py = x, y
    for _ in range(6):
        moved = cv2.remap(field, px, py, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        px, py = x - moved[..., 0], y - moved[..., 1]
    return px, py


def _leave_traces(scene: Image, degraded: Image, share: float, rng: Generator) -> Image:
    """Blend the degraded photo into the clean `scene` of the same size.

    The weights vary smoothly and at random over the picture; their mean is about `share`.
    """
    place = smooth_noise(scene.shape[:2], rng, cells=2.0)
    weight = np.clip(np.float32(share) * (1 + place), 0.0, 1.0)[..., None]
    return np.asarray(scene + weight * (degraded - scene), np.float32)
