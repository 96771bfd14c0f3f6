"""Measurements of finished models. Must not know training, registering or rendering."""
