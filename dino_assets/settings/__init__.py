"""The configuration: the environment and ``.env``, read once into frozen records."""
