"""Rows: their origin, their cleaning, and the account of both.

Knows nothing of models, tokens or translation.
"""
