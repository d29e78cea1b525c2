"""The intermediate representation: models, graphs, and the only functions that change them (`edit`)."""
