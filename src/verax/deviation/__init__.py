"""What the prior changed against the photo."""
