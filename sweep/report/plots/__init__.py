"""Pictures of a sweep as files."""
