"""Networks and tokenizers: loaded, packed, generating, and conversations as token ids.

Knows nothing of what a reward is for, of datasets or of stages.
"""
