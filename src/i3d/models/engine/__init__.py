"""A network in inference mode, made ready to run: `engine`, by one of the `runtimes`."""
