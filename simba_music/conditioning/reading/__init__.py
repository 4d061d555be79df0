"""Reading: what a prompt says besides its text, and what it leaves to the seed."""
