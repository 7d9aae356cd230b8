"""What every package uses: files written whole or not at all, devices, processes, caches, text."""
