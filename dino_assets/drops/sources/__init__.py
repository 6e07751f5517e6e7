"""Sources of image files: a folder, a CSV or text list, a bucket prefix."""
