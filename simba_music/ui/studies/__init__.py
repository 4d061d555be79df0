"""Studies: the page that their listeners see."""
