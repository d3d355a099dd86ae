"""Where a prior comes from: files, a provider, the simulator."""
