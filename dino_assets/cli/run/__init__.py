"""The command ``run``: make the assets of drops, by running the same jobs as the UI."""
