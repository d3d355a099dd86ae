"""The benchmark: plan, runner, engines, store, statistics."""
