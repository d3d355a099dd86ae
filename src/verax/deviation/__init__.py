"""What the prior changed against the photo."""

from verax.deviation.measure import measure
from verax.deviation.record import Deviation, Entry, ObjectChange

__all__ = ["Deviation", "Entry", "ObjectChange", "measure"]
