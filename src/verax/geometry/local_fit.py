"""Local fit: a smooth field of small displacements that the global matrix does not explain.

Blocks of orientation channels are matched, coarse to fine: the window around each photo pixel is
compared with the prior at all displacements up to a limit. A displacement has weight if its
correlation is clearly above the second-best peak and matching back from the prior returns to the
pixel. A smooth field is then fitted to the weighted displacements.
"""

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.geometry import Size, scale_size
from verax.geometry.features import Channels, coherence, dot
from verax.image import Plane
from verax.image.pixels import blur, resize

Field = NDArray[np.float32]  # (H, W, 2), displacement (dx, dy) in px of its own grid

CLEAR = 0.06  # lead over the second-best peak from which a peak has full weight
HOME = 1.5  # px: largest error of matching back
WEAK = 0.15  # block correlation up to which a displacement has no weight
STIFFNESS = 0.05  # weight of the field's bending, if every pixel has one displacement of weight 1
PULL = 0.02  # weight of the squared displacement itself, likewise
OFF_SHEET = 1.0  # px from the smooth field from which a displacement is an outlier
SAMPLING = 3  # px between the displacements to which the smooth field is fitted
GAIN = 0.02  # least gain of mean local correlation for a field to be used


@dataclass(frozen=True, slots=True)
class Round:
    """The settings of one block matching, all in px at its resolution.

    Attributes:
        long_side: long side to which photo and prior are reduced.
        reach: largest displacement tried along each axis.
        block: sigma of the Gaussian window that is compared.
        spacing: distance of the nodes of the smooth field.
    """

    long_side: int
    reach: int
    block: float
    spacing: float


def displacement(photo: Channels, warped: Channels, valid: Plane, settings: Round) -> Field:
    """Estimate the displacement of each pixel by block matching: a smooth field (H, W, 2) in px.

    `warped` at p + field[p] shows what `photo` shows at p; the field is (dx, dy). Both are channels
    (H, W, C); `valid` (H, W) is the fraction of each pixel for which `warped` has data. `settings`
    are those of this resolution.
    """
    reach = settings.reach
    steps = np.array(list(product(range(-reach, reach + 1), repeat=2)))  # (dy, dx)
    scores = _volume(photo, warped, valid, steps, settings.block)
    best = scores.argmax(0)
    field = _subpixel(scores, best, steps, reach)
    weight = _weight(scores, best, steps, reach) * valid
    return _sheet(field, weight, settings.spacing)


def _volume(
    photo: Channels, warped: Channels, valid: Plane, steps: NDArray[np.intp], block: float
) -> NDArray[np.float32]:
    """The local correlation of photo and warped prior for each displacement: (len(steps), H, W).

    `photo` and `warped` are channels (H, W, C), `valid` (H, W) is the fraction of each pixel for
    which `warped` has data. `steps` are the displacements (dy, dx) in px from photo to prior;
    `block` is the sigma in px of the Gaussian window around each pixel.
    """
    height, width = valid.shape
    reach = int(steps.max())
    border = (reach, reach, reach, reach)
    padded = cv2.copyMakeBorder(warped, *border, cv2.BORDER_CONSTANT, value=0)
    around = blur(dot(padded, padded), block)
    own = blur(dot(photo, photo) * valid, block)
    floor = float(own.mean() * 0.05) + 1e-9
    scores = np.empty((len(steps), height, width), np.float32)
    for score, (dy, dx) in zip(scores, steps + reach, strict=True):
        moved = np.s_[dy : dy + height, dx : dx + width]
        cross = blur(dot(photo, padded[moved]), block)
        np.divide(cross, np.sqrt((own + floor) * (around[moved] + floor)), out=score)
    return scores


def _subpixel(
    scores: NDArray[np.float32], best: NDArray[np.intp], steps: NDArray[np.intp], reach: int
) -> Field:
    """The displacement (dx, dy) with the best correlation at each pixel, to a fraction of a px.

    Along each axis, a parabola is put through the best displacement and both its neighbours.

    Args:
        scores: (len(steps), H, W) correlation for each displacement.
        best: (H, W) index in `steps` of the best displacement.
        steps: displacements (dy, dx), px.
        reach: the largest of them along an axis, px.
    """
    side = 2 * reach + 1
    row, column = best // side, best % side
    offsets = []
    for position, stride in ((column, 1), (row, side)):
        inside = (position > 0) & (position < side - 1)
        before, peak, after = (
            np.take_along_axis(scores, np.where(inside, best + move, best)[None], 0)[0]
            for move in (-stride, 0, stride)
        )
        bend = 2 * peak - before - after
        offsets.append(np.where(inside & (bend > 1e-6), (after - before) / (2 * bend + 1e-9), 0))
    field = np.stack([steps[best][..., 1] + offsets[0], steps[best][..., 0] + offsets[1]], -1)
    return np.asarray(field, np.float32)


def _weight(
    scores: NDArray[np.float32], best: NDArray[np.intp], steps: NDArray[np.intp], reach: int
) -> Plane:
    """The weight (H, W) in [0, 1] of the best displacement at each pixel.

    It is the product of three factors: the correlation at the displacement, its lead over the
    second-best peak, and whether matching back from the prior returns to the pixel.

    Args:
        scores: (len(steps), H, W) correlation for each displacement.
        best: (H, W) index in `steps` of the best displacement.
        steps: displacements (dy, dx), px.
        reach: the largest of them along an axis, px.
    """
    side = 2 * reach + 1
    peak = np.take_along_axis(scores, best[None], 0)[0]
    row, column = best // side, best % side
    second = np.full_like(peak, -1)
    for index, score in enumerate(scores):
        near = (np.abs(row - index // side) <= 2) & (np.abs(column - index % side) <= 2)
        np.maximum(second, np.where(near, -1, score), out=second)
    clear = np.clip((peak - np.maximum(second, 0)) / CLEAR, 0, 1) if reach > 2 else 1.0
    strong = np.clip((peak - WEAK) / (0.5 - WEAK), 0, 1)
    return np.asarray(strong * clear * _returns(scores, best, steps), np.float32)


def _returns(scores: NDArray[np.float32], best: NDArray[np.intp], steps: NDArray[np.intp]) -> Plane:
    """(H, W) 1 where matching back from the best match returns to the pixel within 1.5 px, else 0.

    `scores` are the correlations (len(steps), H, W) for all displacements (dy, dx) in `steps`;
    `best` is the index of the best one at each pixel.
    """
    height, width = best.shape
    back_best = np.full((height, width), -np.inf, np.float32)
    back = np.zeros((height, width), np.intp)
    for index, (dy, dx) in enumerate(steps):
        here = np.s_[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
        there = np.s_[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
        better = scores[index][here] > back_best[there]
        back_best[there][better] = scores[index][here][better]
        back[there][better] = index
    y, x = np.indices(best.shape)
    there_y = np.clip(y + steps[best][..., 0], 0, height - 1)
    there_x = np.clip(x + steps[best][..., 1], 0, width - 1)
    miss = np.linalg.norm(steps[back[there_y, there_x]] - steps[best], axis=-1)
    return np.asarray(miss <= HOME, np.float32)


def _sheet(field: Field, weight: Plane, spacing: float) -> Field:
    """Fit a smooth field (H, W, 2), linear between nodes, to displacements of weight (H, W).

    `field` (H, W, 2) has the displacement (dx, dy) of each pixel. Bending and, slightly, the
    displacement itself are penalised. Outliers lose their weight (graduated Geman-McClure), so that
    one moved object does not distort the field. `spacing` is the distance of the nodes, px.
    """
    height, width = weight.shape
    down, across = _hats(height, spacing), _hats(width, spacing)
    some = slice(SAMPLING // 2, None, SAMPLING)
    few, trust = (down[some], across[some]), weight[some, some].astype(np.float64)
    targets = np.moveaxis(field[some, some].astype(np.float64), -1, 0)
    cost = (spacing / SAMPLING) ** 2 * _elasticity(down.shape[1], across.shape[1])
    nodes, reach = np.zeros((2, down.shape[1], across.shape[1])), 4 * OFF_SHEET
    for _ in range(5):
        miss = ((targets - few[0] @ nodes @ few[1].T) ** 2).sum(0)
        weights = trust * (reach**2 / (reach**2 + miss)) ** 2
        right = (few[0].T @ (weights * targets) @ few[1]).reshape(2, -1).T
        nodes = np.linalg.solve(_normal(*few, weights) + cost, right).T.reshape(nodes.shape)
        reach = max(OFF_SHEET, reach / 1.6)
    return np.asarray(np.moveaxis(down @ nodes @ across.T, 0, -1), np.float32)


def _normal(
    down: NDArray[np.float64], across: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The normal matrix (nodes, nodes) of the least-squares fit of the field's nodes.

    Its elements are weighted sums, over all pixels, of the products of two nodes' hat functions.
    `down` and `across` are these functions along the two axes, (pixels, nodes); `weights` (H, W)
    are those of the pixels.
    """
    rows, columns = down.shape[1], across.shape[1]
    pairs = [(hats[:, :, None] * hats[:, None]).reshape(len(hats), -1) for hats in (down, across)]
    sums = (pairs[0].T @ weights @ pairs[1]).reshape(rows, rows, columns, columns)
    return np.ascontiguousarray(sums.swapaxes(1, 2)).reshape(rows * columns, rows * columns)


def _hats(length: int, spacing: float) -> NDArray[np.float64]:
    """(length, nodes) the weight of each node at each pixel of a side, for linear interpolation.

    `length` is that of the side in px; the nodes are about `spacing` px apart.
    """
    nodes = max(3, round((length - 1) / spacing) + 1)
    at = np.linspace(0, nodes - 1, length)
    return np.asarray(np.clip(1 - np.abs(at[:, None] - np.arange(nodes)), 0, 1), np.float64)


def _elasticity(rows: int, columns: int) -> NDArray[np.float64]:
    """(nodes, nodes) matrix of the quadratic penalty on a field's bending and displacement.

    The field has `rows` times `columns` nodes.
    """

    def difference(nodes: int, order: int) -> NDArray[np.float64]:
        return np.asarray(np.diff(np.eye(nodes), order, axis=0), np.float64)

    bends = (
        np.kron(np.eye(rows), difference(columns, 2)),
        np.kron(difference(rows, 2), np.eye(columns)),
        np.sqrt(2) * np.kron(difference(rows, 1), difference(columns, 1)),
    )
    bending = np.sum([bend.T @ bend for bend in bends], axis=0)
    return np.asarray(STIFFNESS * bending + PULL * np.eye(rows * columns), np.float64)


def resize_field(field: Field, size: Size) -> Field:
    """Resize a field to a grid of `size` (width, height) of the same picture, with displacements in
    px of that grid."""
    factor = np.array([size[0] / field.shape[1], size[1] / field.shape[0]], np.float32)
    resized = np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_LINEAR), np.float32)
    resized *= factor
    return resized


def through(channels: NDArray[np.float32], field: Field) -> NDArray[np.float32]:
    """Sample a plane (H, W) or channels (H, W, C) at p + field[p] for each pixel p of the field (H,
    W, 2), (dx, dy) in px; linear between pixels, zero outside."""
    y, x = np.mgrid[: field.shape[0], : field.shape[1]].astype(np.float32)
    return np.asarray(
        cv2.remap(channels, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR), np.float32
    )


ROUNDS = (Round(96, 4, 3.0, 8.0), Round(192, 2, 4.0, 14.0))


def fit_field(
    photo: Channels, warped: Channels, valid: Plane, rounds: tuple[Round, ...] = ROUNDS
) -> Field | None:
    """Fit the local field (H, W, 2), (dx, dy) in px, to channels of the photo and the warped prior.

    `warped` at p + field[p] shows what `photo` shows at p, both (H, W, C); `valid` (H, W) is the
    fraction of each pixel for which `warped` has data. `rounds` are the settings of the block
    matching, coarse to fine. None if the field raises the mean local correlation by less than 0.02.
    """
    field: Field = np.zeros((*valid.shape, 2), np.float32)
    for turn in rounds:
        size = scale_size((valid.shape[1], valid.shape[0]), turn.long_side / max(valid.shape))
        field = resize_field(field, size)
        fixed, moving, cover = (resize(array, size) for array in (photo, warped, valid))
        cover = np.clip(cover, 0, 1)  # cubic enlargement of tiny pictures overshoots
        change = displacement(fixed, through(moving, field), through(cover, field), turn)
        field = through(field, change) + change
    field = resize_field(field, (valid.shape[1], valid.shape[0]))
    window = max(valid.shape) / 24
    before = coherence(photo, warped, valid, window).mean()
    after = coherence(photo, through(warped, field), through(valid, field), window).mean()
    return field if after > before + GAIN else None
