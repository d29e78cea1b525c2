"""How long models and their layers take, and what is remembered of that."""
