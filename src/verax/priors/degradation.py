"""Which restoration task a photo needs. A guess, and named as one.

The surest of its faults says it. Where none is sure the task is "restore", whose prompt names no
single fault, so that a wrong guess costs little.
"""

from verax.image import Image
from verax.restorers.faults import Faults, diagnose

TASKS = {
    "haze": "dehaze",
    "lowlight": "lowlight",
    "rain": "derain",
    "snow": "desnow",
    "noise": "denoise",
    "defocus_blur": "defocus_deblur",
    "motion_blur": "motion_deblur",
    "jpeg": "jpeg",
    "underwater": "underwater",
    "grey": "old_photo",
}


def estimate(photo: Image, faults: Faults | None = None) -> str:
    """The task of the prompt catalog that fits the photo best; "restore" where none stands out."""
    suffers = faults or diagnose(photo)
    return next((TASKS[fault.kind] for fault in suffers), "restore")
