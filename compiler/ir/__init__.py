"""The intermediate representation: models, graphs, and the one door for changing them."""
