"""The command ``run``: make the assets of drops, with the named jobs of the UI."""
