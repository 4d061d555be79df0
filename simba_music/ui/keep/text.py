"""Text: the words of the parts that keep clips, in one place; braces are filled in."""

TEXT = {
    "history": "History",
    "empty": "Clips you make are listed here.",
    "private": "This browser alone keeps this list: the last {most}, those with a star longest.",
    "notKept": "This browser keeps nothing (private mode?): the list ends with this page.",
    "play": "Play",
    "again": "Generate again",
    "gone": "The server no longer has these clips; the same settings give them again.",
    "interrupted": "Left before it was done",
    "star": "Keep longest",
    "delete": "Delete",
    "deleted": "Deleted.",
    "undo": "Undo",
    "download": "Download",
    "zip": "Both and their recipe (ZIP)",
    "licence": "Licence of the model: {licence}. Files carry their recipe: drop one here to get "
    "the clip again.",
    "making": "Writing {form} …",
    "share": "Share",
    "copied": "Link copied. It opens the prompt and settings; clips are generated anew.",
    "copyThis": "Copy this link. It opens the prompt and settings; clips are generated anew.",
    "open": "Open a clip or recipe",
    "drop": "Drop a clip or its recipe to make it again",
    "noRecipe": "There is no recipe in this file. WAV, FLAC, Ogg and ZIP that were made here have "
    "one, and recipe.json.",
    "restored": "The form is as it was for “{prompt}”, seed {seed}. Press Generate.",
    "noAnswer": "The server did not answer. Nothing is lost; try again.",
}
