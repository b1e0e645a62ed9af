"""Photos in: data sources, decoding, padded canvases and the procedural generator."""
