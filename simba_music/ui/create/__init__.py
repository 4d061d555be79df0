"""Create: the tab where a prompt becomes two clips that are played side by side."""
