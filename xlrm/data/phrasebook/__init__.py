"""A closed little world with exact sentences in nine languages, for runs without downloads.

Knows nothing of files, models or stages.
"""
