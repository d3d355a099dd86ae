"""Simulated shots of prints: a picture with known corners, seen aslant on a table."""

from dataclasses import dataclass

import cv2
import numpy as np

from verax.degrade.fields import fractal_noise


@dataclass(frozen=True)
class Shot:
    pixels: np.ndarray
    corners: np.ndarray  # (4, 2) of the print, from top left, clockwise
    picture: np.ndarray  # (4, 2) of the picture inside its border
    ratio: float  # width over height of the print


GROUNDS = ("plain", "wood", "cloth")


def table(size, rng, ground):
    colour = rng.uniform(0.1, 0.75, 3).astype(np.float32)
    if ground == "plain":
        grain = 0.02 * fractal_noise(size, rng, cells=6)
    elif ground == "wood":
        grain = 0.07 * cv2.GaussianBlur(
            rng.standard_normal(size, np.float32), (0, 0), 40, sigmaY=1.5
        )
        grain = grain / grain.std() * 0.05
    else:
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        grain = 0.03 * (np.sin(x / 3) + np.sin(y / 3)) + 0.02 * fractal_noise(size, rng, cells=9)
    return np.clip(colour + grain[..., None], 0, 1).astype(np.float32)


def view(width, height, ratio, rng):
    """(4, 2) corners of a rectangle of `ratio` seen by a lens one diagonal long."""
    focal = np.hypot(width, height)
    tilt, pan, roll = rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35), rng.uniform(-0.15, 0.15)
    turn = cv2.Rodrigues(np.array([tilt, 0, 0]))[0] @ cv2.Rodrigues(np.array([0, pan, 0]))[0]
    turn = turn @ cv2.Rodrigues(np.array([0, 0, roll]))[0]
    half = np.array([ratio, 1.0]) / np.hypot(ratio, 1.0)
    points = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    corners = np.c_[points, np.zeros(4)] @ turn.T + [0, 0, 4.0]
    flat = corners[:, :2] / corners[:, 2:] * focal
    span = np.ptp(flat, axis=0)
    flat *= rng.uniform(0.62, 0.88) * min(width / span[0], height / span[1])
    # the lens looks at the middle: only small shifts keep the perspective true
    return flat - (flat.max(0) + flat.min(0)) / 2 * 0.5 + np.array([width, height]) / 2


def shot(picture, seed, ground="plain", border=0.05, size=(600, 800)):
    rng = np.random.default_rng(seed)
    height, width = size
    margin = round(border * min(picture.shape[:2]))
    paper = rng.uniform(0.82, 0.97)
    print_ = cv2.copyMakeBorder(picture, *[margin] * 4, cv2.BORDER_CONSTANT, value=[paper] * 3)
    ph, pw = print_.shape[:2]
    corners = view(width, height, pw / ph, rng)
    source = np.array([[0, 0], [pw, 0], [pw, ph], [0, ph]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    inner = source + margin * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
    photographed = cv2.warpPerspective(print_, matrix, (width, height), flags=cv2.INTER_AREA)
    cover = cv2.warpPerspective(np.ones((ph, pw), np.float32), matrix, (width, height))
    shadow = cv2.GaussianBlur(np.roll(cover, (6, 8), (0, 1)), (0, 0), 5)
    ground_ = table(size, rng, ground) * (1 - 0.5 * shadow[..., None])
    pixels = photographed * cover[..., None] + ground_ * (1 - cover[..., None])
    light = 1 + 0.12 * fractal_noise(size, rng, cells=1.5, octaves=2)[..., None]
    noise = 0.012 * rng.standard_normal(pixels.shape, np.float32)
    pixels = np.clip(cv2.GaussianBlur(pixels, (0, 0), 0.7) * light + noise, 0, 1)
    inside = cv2.perspectiveTransform(inner[None], matrix)[0]
    return Shot(pixels.astype(np.float32), corners, inside, pw / ph)
