"""Models for tests and measurements: builders of small nets, the embedded demo model, and the zoo's manifest."""
