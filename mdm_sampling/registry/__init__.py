"""Which parts are installed, under which names, and how they are written as text."""
