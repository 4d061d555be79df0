"""Serving: what stands around the page on its own server: guards, health, metrics, sweeps."""
