"""Where bytes, records and answers are kept, on disk and in S3, and what an artifact's key is made of.

Knows nothing of languages, prompts, rewards or torch.
"""
