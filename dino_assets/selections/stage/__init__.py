"""The output *selections* joined with the store: opened, drafted, judged, described."""
