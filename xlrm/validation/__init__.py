"""Row-by-row checks of a corpus and its translations. Knows nothing of translators or models."""
