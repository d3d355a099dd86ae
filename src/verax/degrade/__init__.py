"""How photos go bad: seeded degradations, as values."""
