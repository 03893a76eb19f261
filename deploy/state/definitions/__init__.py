"""What a state is made of, beside the definitions of a pipeline: what a start does with it."""
