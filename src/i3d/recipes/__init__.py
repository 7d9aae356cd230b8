"""What a run is: typed, frozen settings."""
