"""Studies: a listening test of a host's own, with consent, practice and checks."""
