"""How good predictions are: AUC and loss, each example scored before it is learned."""
