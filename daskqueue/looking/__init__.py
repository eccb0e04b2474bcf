"""What is asked or told of a whole pool: what waits, what died, how much there is of all."""
