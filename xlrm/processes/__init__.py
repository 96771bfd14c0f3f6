"""How processes are launched, keep out of each other's way, and end.

Knows nothing of what they compute or where results are kept.
"""
