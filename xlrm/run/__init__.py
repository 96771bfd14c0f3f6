"""Turns an experiment into artifacts, and estimates what that takes. Knows nothing of Kubeflow."""
