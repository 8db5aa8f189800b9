"""Which trials next: a space of planned trials, a study that asks in it, and the loop between both and the engine."""
