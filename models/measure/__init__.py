"""What prints the figures of `models/README.md`, one module per table."""
