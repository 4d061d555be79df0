"""Icons: a few strokes each, in the colour of the text beside them; of our own, as SVG."""

_SHAPES = {
    "play": '<path d="M8 5.5v13l11-6.5z" fill="currentColor"/>',
    "pause": '<path d="M8 6v12M16 6v12" stroke-width="4"/>',
    "loop": '<path d="M17 3l3 3-3 3M20 6H9a5 5 0 0 0-5 5M7 21l-3-3 3-3M4 18h11a5 5 0 0 0 5-5"/>',
    "volume": '<path d="M4 9.5v5h3.5L12 18V6L7.5 9.5zM15.5 9a4 4 0 0 1 0 6"/>'
    '<path d="M18 6.5a8 8 0 0 1 0 11"/>',
    "new": '<path d="M20 11a8 8 0 1 0-2.5 6.2M20 5v6h-6"/>',
    "on": '<path d="M4 12h13M12 6l6 6-6 6"/>',
    "dice": '<rect x="4" y="4" width="16" height="16" rx="3"/>'
    '<path d="M9 9h.01M15 15h.01M12 12h.01" stroke-width="2.6"/>',
    "sliders": '<path d="M4 8h9M17 8h3M4 16h3M11 16h9"/><circle cx="15" cy="8" r="2"/>'
    '<circle cx="9" cy="16" r="2"/>',
    "lock": '<rect x="5" y="11" width="14" height="9" rx="2"/><path d="M8 11V8a4 4 0 0 1 8 0v3"/>',
}


def icon(name: str) -> str:
    """An icon as inline SVG; what stands beside it says what it means.

    Raises:
        KeyError: If there is none of that name.
    """
    return (
        '<svg class="sm-icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false" fill="none" '
        f'stroke="currentColor" stroke-width="1.8" stroke-linecap="round">{_SHAPES[name]}</svg>'
    )
