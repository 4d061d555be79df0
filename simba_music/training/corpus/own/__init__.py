"""Own corpora: recordings and captions that people bring, in tables or in known layouts."""
