"""How a video becomes rows of features: `rows` (which frames), `extractor` (through the network), `files`."""
