"""Import of checkpoints from files and folders of other layouts."""
