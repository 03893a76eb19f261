"""Who may ask the endpoint what: keys with scopes, and the checks of each request's headers."""
