"""How many replicas the requests need: what a replica measures, and the policy that decides."""
