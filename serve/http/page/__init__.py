"""The web page: live metrics, and a form that sends events and requests; one document."""
