"""What the tests share: rendered videos, tiny models, commands, files of other projects."""
