"""Layers that read only some of their input channels, by a Gather in front."""
