"""A text into another language, and the effort of it. Knows nothing of how translations are checked or used."""
