"""Capacity: how long a crowd waits on so many machines, computed from what was measured of one."""
