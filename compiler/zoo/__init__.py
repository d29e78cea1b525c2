"""Real third-party models and their regression run."""
