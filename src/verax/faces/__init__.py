"""Faces: where they are in a photo, and whether they are still the same ones in a restoration."""
