"""How many channels each group keeps: by multiply-accumulates, by time, or by what is lost."""
