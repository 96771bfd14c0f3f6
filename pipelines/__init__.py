"""The order of components, and what they run on."""
