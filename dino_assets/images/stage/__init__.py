"""The output *images* joined with the store: drafted, judged, exported."""
