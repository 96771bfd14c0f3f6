"""What is registered, on what terms, and which version is the champion. Never computes a reward."""
