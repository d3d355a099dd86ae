"""How good a restoration is; every number carries its protocol."""
