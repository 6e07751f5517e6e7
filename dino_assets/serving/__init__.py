"""The HTTP embedding service and the serverless endpoint."""
