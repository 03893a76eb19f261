"""HTTP around a scoring service: the table of routes, their handlers, OpenAPI, the web page."""
