"""What each input of a model adds to an output, by the model itself or by differences."""
