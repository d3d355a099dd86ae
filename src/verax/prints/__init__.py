"""Old prints: masks, straightening, damage, colour, a larger result."""
