"""Resources: config shells around plain functions."""
