"""Changing what a model consists of by what `analysis` found out, in ways that several families of passes need.

The layer between `analysis`, which changes nothing, and `repair`, which changes only values. All of it goes through
`ir.edit`.
"""
