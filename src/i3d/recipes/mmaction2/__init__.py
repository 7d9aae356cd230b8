"""MMAction2's Python configs, 0.x and 1.x: parsed as data, never executed, and turned into recipes."""
