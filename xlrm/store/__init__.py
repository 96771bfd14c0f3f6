"""Stores artifacts, records and answers on disk and in S3, and computes artifacts' keys.

Knows nothing of languages, prompts, rewards or torch.
"""
