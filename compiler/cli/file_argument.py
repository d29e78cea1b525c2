"""The type of every argument that names a file."""

from __future__ import annotations

from pathlib import Path

import click

A_FILE = click.Path(path_type=Path)
