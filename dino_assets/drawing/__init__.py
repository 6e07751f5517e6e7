"""Pictures for people: letters, thumbnails, contact sheets."""
