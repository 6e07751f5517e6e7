"""Drawing of pictures: text, thumbnails, contact sheets, colour scales."""
