"""Drawing of the map: picture and interactive page."""
