"""Translating texts, and estimating the effort. Must not know how translations are checked or used."""
