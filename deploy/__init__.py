"""What is needed to run the gate somewhere; programs here import `schemas` only."""
