"""From records to a choice: constraints, comparisons, who is left out of a race, claims, and the words for it."""
