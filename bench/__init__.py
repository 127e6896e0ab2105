"""How fast Braid is, beside what the same machine can do without it: `make bench`; and smaller measurements."""
