"""Asset checks, a module per noun."""
