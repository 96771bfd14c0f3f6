"""The papers' tables as CSV, each with its source in the first line. Knows nothing of this project's results."""
