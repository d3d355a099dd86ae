"""Fusion: joins photo, base and registered prior into the restoration by formulas, not a network.

`fuse.fuse` is the entry. It fits the light (`light`, `tone`, `matching`), decides which changes of
the prior a fault of the photo explains (`explanation`), and joins the structure, one level of a
pyramid after the other (`planes`, `evidence`, `octave`, `join`). `front` finds what stood in front
of the scene and is missing in the prior. `exact` undoes a known blur and keeps the result within
the rounding of a JPEG photo. `dial` holds the thresholds of a fidelity and the trust map's classes.
"""
