"""The page: artifacts as tables, figures and sentences. Computes no statistics."""
