"""What the fields of a catalogue say of its items, as terms that can be counted and looked up."""
