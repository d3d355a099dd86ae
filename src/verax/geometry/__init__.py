"""Where things are: canvas, transforms, warp, global and local fit, register."""
