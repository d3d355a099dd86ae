"""Datasets: layouts, manifests, fetching, verification."""
