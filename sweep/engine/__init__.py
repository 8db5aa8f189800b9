"""Plan, references, builds, repeats, records; the parent, which never imports a framework. Imports all but verbs."""
