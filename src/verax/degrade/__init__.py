"""How photos go bad: seeded degradations, as values."""

from verax.degrade.compose import TASKS, Degradation, apply, sample, sample_mixture

__all__ = ["TASKS", "Degradation", "apply", "sample", "sample_mixture"]
