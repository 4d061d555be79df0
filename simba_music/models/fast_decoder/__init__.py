"""The decoder of an EnCodec computed anew: matrix products, in chunks that carry their context."""
