"""How much a channel matters: from the weights alone, or from the inputs of the layers that read it."""
