"""Changes of a model's structure, based on `analysis`, that several families of passes need.

The layer between `analysis`, which changes nothing, and `repair`, which changes only values. Every change uses
`ir.edit`.
"""
