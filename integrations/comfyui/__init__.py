"""Verax for ComfyUI: Register, Restore, Measure and Trust map as nodes. A thin shell."""

from .nodes import NODES  # noqa: TID252  # ComfyUI chooses the package's name

NODE_CLASS_MAPPINGS = {f"Verax{node.__name__}": node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {f"Verax{node.__name__}": node.TITLE for node in NODES}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
