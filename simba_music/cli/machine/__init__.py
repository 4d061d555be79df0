"""Commands about this machine: how fast it decodes, and how long it holds out."""
