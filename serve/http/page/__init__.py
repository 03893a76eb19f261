"""The web page: figures to watch, and a person to play; one document without anything outside."""
