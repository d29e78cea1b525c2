"""The container's entropy coders, and their probability models."""
