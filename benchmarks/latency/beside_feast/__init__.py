"""A replica beside Feast: the same model behind Ray Serve, its features from Feast's server."""
