"""The embedding service and the serverless endpoint."""
