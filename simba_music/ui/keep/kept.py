"""Kept: what a link, a clip or a recipe.json says, checked, as settings of the page's form."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypedDict

from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.generation.request import SIDES, Limits, validate_request
from simba_music.hub.places import allowed
from simba_music.ui.keep.permalink import link_of, read_link
from simba_music.ui.look.words import say
from simba_music.ui.opening import Opening
from simba_music.ui.questions import Answer, answered, text_field

if TYPE_CHECKING:  # see ui.opening
    from simba_music.generation.recipe import Recipe


class Restored(TypedDict):
    """What the form is filled with; models by side; notes are sentences for its reader."""

    prompt: str
    seed: int
    settings: dict[str, str | int | float | list[float]]
    models: dict[str, str]
    notes: list[str]


class Kept:
    """Reads what was kept, against the models that the page has."""

    def __init__(self, opening: Opening):
        self.opening = opening

    def restore(self, data: object) -> Answer:
        """A `Restored` of `link`, the text behind `?r=`, or of `recipe`, JSON of a clip's file."""

        def read(given: Mapping[str, Any]) -> Answer:
            found = self.of_link(given) if "link" in given else self.of_recipe(given)
            return {"restored": found}

        return answered(read, data)

    def link(self, data: object) -> Answer:
        """The text behind `?r=` for `recipes`, JSON of the recipes of a pair's clips."""

        def make(given: Mapping[str, Any]) -> Answer:
            recipes = self._recipes(text_field(given, "recipes"))
            return {"link": link_of(recipes[0].request, self._names(recipes))}

        return answered(make, data)

    def of_link(self, given: Mapping[str, Any]) -> Restored:
        """What a link says.

        Raises:
            RequestError: If it is none, or a setting is out of range.
        """
        link = read_link(text_field(given, "link"))
        request = self._checked({"prompt": link.prompt, **link.settings, "grown_s": link.grown_s})
        return self._restored(request, link.models, [])

    def of_recipe(self, given: Mapping[str, Any]) -> Restored:
        """What the recipe of a clip, or a recipe.json, says.

        Raises:
            RequestError: If it is none, or a setting is out of range.
        """
        recipes = self._recipes(text_field(given, "recipe"))
        request = self._checked(asdict(recipes[0].request))
        return self._restored(request, self._names(recipes), self._other_now(recipes))

    def _recipes(self, text: str) -> "list[Recipe]":
        self.opening.comparison.result()  # else its imports and these meet
        from simba_music.generation.recipe import read_recipes

        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RequestError(
                "There is no recipe in this file. Clips made here carry one; other programs may "
                "have taken it out. Drop the recipe.json instead."
            ) from error
        return list(read_recipes(raw, "This file").values())

    def _checked(self, raw: Mapping[str, object]) -> Request:
        # The text encoder may still be loading; it counts the tokens when clips are generated.
        longest_s = min(side.longest_s for side in self.opening.sides.values())
        return validate_request(Limits(longest_s, 1, lambda text: 0), **raw)

    def _known(self) -> set[str]:
        return {*allowed(), *(side.source for side in self.opening.sides.values())}

    def _names(self, recipes: "list[Recipe]") -> list[str]:
        """What names the models of the first two recipes here, with their commit if need be."""
        known, found = self._known(), list[str]()
        for model in (recipe.model for recipe in recipes[:2]):
            pinned = f"{model.id}@{model.revision}"
            found.append(pinned if pinned in known else model.id)
        return found

    def _restored(self, request: Request, names: list[str], notes: list[str]) -> Restored:
        own = {side: found.source for side, found in self.opening.sides.items()}
        known = self._known()
        for name in dict.fromkeys(name for name in names if name not in known):
            notes.append(say("keep", "not_offered", model=name[:80]))
        names = [name for name in names if name in known]
        if len(names) == 1:
            right = names[0] == own[SIDES[1]]
            names = [own[SIDES[0]], names[0]] if right else [names[0], own[SIDES[1]]]
        fields = asdict(request)
        prompt, seed = fields.pop("prompt"), fields.pop("seed")
        fields.pop("subseed")  # not of the form: each side has its own
        models = dict(zip(SIDES, names, strict=False)) or own
        return Restored(prompt=prompt, seed=seed, settings=fields, models=models, notes=notes)

    def _other_now(self, recipes: "list[Recipe]") -> list[str]:
        """Why the clips would be others than those of the recipes."""
        comparison, notes = self.opening.comparison.result(), list[str]()
        if not comparison.place.here:
            return []
        pipeline = comparison.pipeline
        loaded = {model.origin.id: model.origin.sha256 for model in pipeline.models.values()}
        engine = pipeline.engine_now()
        for recipe in recipes:
            weights = loaded.get(recipe.model.id)
            if weights is not None and recipe.model.sha256 not in (None, weights):
                notes.append(say("keep", "other_weights", model=recipe.model.id))
            if (recipe.engine, recipe.dtype) != (engine, pipeline.choice.dtype):
                was = {"engine": recipe.engine[:40], "dtype": recipe.dtype[:40]}
                own = {"own_engine": engine, "own_dtype": pipeline.choice.dtype}
                notes.append(say("keep", "other_engine", **was, **own))
        return list(dict.fromkeys(notes))
