"""Which videos: what stands behind the paths, folders, patterns and lists that a user names."""
