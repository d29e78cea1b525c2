"""Entropy coders of the container, and the models of symbols that they code by."""
