"""What several benches share: generated load, the system under load, and what its state must be."""
