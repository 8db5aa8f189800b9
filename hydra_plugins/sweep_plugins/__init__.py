"""What Hydra finds by itself: the sweepers and launchers of sweep."""
