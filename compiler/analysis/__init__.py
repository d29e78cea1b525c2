"""What is computed about a graph without running it."""
