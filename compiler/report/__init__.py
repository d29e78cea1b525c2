"""Reports of measurements, for people and for programs."""
