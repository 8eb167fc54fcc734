"""Which of the requests that are ready form the next micro-batch."""
