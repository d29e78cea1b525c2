"""What a pass is, how passes are found and written down, and how they are run and checked."""
