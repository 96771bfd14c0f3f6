"""MLflow: runs, metrics and registered versions; and what the name of a model stands for.

Knows nothing of what is measured or registered.
"""
