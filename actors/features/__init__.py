"""The features of entities, as what serves them needs them."""
