"""Results: scores from logits (`scoring`), what is told of a video (`prediction`), tables, files, pictures."""
