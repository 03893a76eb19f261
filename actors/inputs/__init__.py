"""What the inputs of a model are, as pipelines declare them and the learner takes them."""
