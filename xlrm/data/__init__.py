"""Rows: where they come from, how they are cleaned, and the account of both.

Knows nothing of models, tokens or translation.
"""
