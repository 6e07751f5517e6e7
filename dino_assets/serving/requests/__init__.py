"""What comes in: who may, bodies with limits, what an upload will become, whether there is room."""
