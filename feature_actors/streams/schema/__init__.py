"""The types of a schema, as msgspec describes them."""
