"""Configuration from the environment and ``.env``, read once into frozen records."""
