"""What a result costs, and where prices come from."""
