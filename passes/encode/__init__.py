"""Passes that decide how weights are stored."""
