"""What experiments show: their pages, their figures, and their lines in the terminal."""
