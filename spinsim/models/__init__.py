"""The embedded family: small LLaMA models trained by this project, and what they stand in for."""
