"""The papers' questions to finished models. Knows nothing of training, registering or rendering."""
