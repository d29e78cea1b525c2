"""Scripts that print the figures of `docs/results.md`, one module per table."""
