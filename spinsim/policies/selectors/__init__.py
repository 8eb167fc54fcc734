"""Which draft for which request, this round."""
