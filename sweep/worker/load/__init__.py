"""How requests come: closed loops, arrivals by themselves, and the batcher between them and the model."""
