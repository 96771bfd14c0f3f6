"""What is registered, on what terms, and who is champion. Never computes a reward."""
