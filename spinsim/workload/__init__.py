"""Requests: what arrives, when, how long, and from which public trace."""
