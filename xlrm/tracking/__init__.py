"""MLflow: runs, metrics and registered versions. Knows nothing of what is measured or registered."""
