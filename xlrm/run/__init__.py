"""An experiment becomes artifacts, and what that will take. Knows nothing of Kubeflow."""
