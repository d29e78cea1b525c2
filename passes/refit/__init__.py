"""Repair in closed form."""
