"""The importance of channels: from the weights alone, or from the inputs of the layers that read them."""
