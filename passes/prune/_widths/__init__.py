"""The number of channels that each group keeps: by multiply-accumulates, by time, or by loss."""
