"""Ray Serve: one page, and as many replicas of its models as there are cards or cores for."""
