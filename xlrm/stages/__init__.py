"""Stages: one file each, with a Config and `run(config, *, inputs..., output)`. Algorithms live in other packages."""
