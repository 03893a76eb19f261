"""Steps that can be undone, and what a checkpoint keeps of them and of their gradients."""
