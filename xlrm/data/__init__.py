"""Rows: their origin, their cleaning, the account of both, and the schema of a corpus.

Knows nothing of models, tokens or translation.
"""
