"""Other questions to stored results, and what would change the choice."""
