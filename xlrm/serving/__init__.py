"""A reward model behind HTTP. Knows nothing of experiments or stages."""
