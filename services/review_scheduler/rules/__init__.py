"""Who reviews what by when, and what becomes of it. Pure: facts in, decisions out."""
