"""The bench of learning that nobody tunes: any scale, any step, any change of the world."""
