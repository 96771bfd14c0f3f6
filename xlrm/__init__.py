"""Cross-lingual reward models: data, training, evaluation, alignment and reports."""

__version__ = "0.1.0"
