"""The studio: a local web page for labelling tiles and looking at maps, flights, rounds and drops."""
