"""What a corpus and its translations must satisfy, row by row. Knows nothing of who translated them, or of models."""
