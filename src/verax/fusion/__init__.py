"""Fusion: joins photo, base and registered prior into the restoration, as formulas, no network.

`fuse` is the entry. Light is fitted first (`light`, `tone`, `matching`), then `explanation` decides
which changes of the prior a fault of the photo explains, then structure is joined octave by octave,
that is, pyramid level by pyramid level (`planes`, `evidence`, `octave`, `join`). `front` finds what
the prior removed from in front of the scene, `exact` undoes a known blur and keeps to JPEG cells.
`dial` holds the thresholds of a fidelity and the classes of the trust map.
"""
