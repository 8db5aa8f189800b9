"""Whether the machine changed while a sweep ran: what the host shows, and tests on what was measured."""
