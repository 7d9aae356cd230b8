"""Features: from videos to rows of features (`extract`), through the network (`extractor`), on disk (`sidecar`)."""
