"""Row-by-row checks of a corpus and its translations; knows nothing of translators or models."""
