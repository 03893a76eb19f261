"""The API over gRPC: messages made from the types of REST, and calls that its handlers answer."""
