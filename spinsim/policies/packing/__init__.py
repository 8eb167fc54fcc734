"""How the rows of one verification share a tensor."""
