"""Removal of whole channels."""
