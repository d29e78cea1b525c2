"""Models to test and measure with: builders of small nets, the embedded demo model and the zoo's manifest."""
