"""What the prior changed against the photo."""

from verax.deviation.compare import Look, compare
from verax.deviation.measure import deviation, measure
from verax.deviation.record import Deviation, Entry, ObjectChange

__all__ = ["Deviation", "Entry", "Look", "ObjectChange", "compare", "deviation", "measure"]
