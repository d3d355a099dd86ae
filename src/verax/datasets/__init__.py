"""Datasets: folders, manifests and known layouts become lists of items."""

from verax.datasets.items import Dataset, Item, from_folder, from_manifest
from verax.datasets.registry import load

__all__ = ["Dataset", "Item", "from_folder", "from_manifest", "load"]
