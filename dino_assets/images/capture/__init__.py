"""What cameras write beside the pixels."""
