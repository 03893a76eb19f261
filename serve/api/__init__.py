"""The requests and answers of the REST API as types: decoding, bounds, errors."""
