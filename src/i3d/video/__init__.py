"""Video in: frames by index or time (`reader`), which frames (`sampling`), what becomes of them (`transforms`)."""
