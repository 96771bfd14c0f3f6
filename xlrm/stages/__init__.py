"""One file for each stage: its Config and `run(config, *, inputs..., output)`. Holds no algorithm."""
