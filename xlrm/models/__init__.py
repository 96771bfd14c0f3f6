"""Networks and tokenizers: loading, packing and generating; conversations as token ids.

Must not know what a reward is for, nor datasets or stages.
"""
