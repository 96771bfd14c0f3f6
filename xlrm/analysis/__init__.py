"""Measurements of finished models, and comparisons of their results. Must not know training, registering or rendering."""
