"""The report: artifacts as tables, figures and sentences. Computes no statistics."""
