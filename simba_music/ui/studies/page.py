"""Study page: one study and nothing else, from consent to the thank-you code."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from simba_music.listening.votes.ballot import VoteError
from simba_music.ui.ab_player import PLAYER_JS
from simba_music.ui.blind.page import BLIND_JS, voting
from simba_music.ui.look.words import phrases, say, words
from simba_music.ui.questions import answered, is_local, text_field

if TYPE_CHECKING:  # see ui.opening
    from simba_music.listening.study.session import Study

STUDY_JS = Path(__file__).with_name("study.js").read_text()
MOUNT_JS = """
window.studyPage = new StudyPage(element.querySelector(".bt-root"), server, props.words);
"""


def answers(study: "Study") -> list[Any]:
    """What the page may ask: each takes one dict and answers with one, errors included."""
    from simba_music.listening.study.session import CHECKS

    config = study.config

    def progress_of(data: dict[str, Any]) -> dict[str, Any]:
        return study.progress(study.listener_of(text_field(data, "listener")).id)

    def about(data: Any) -> dict[str, Any]:
        shown = config.model_dump(include={"name", "consent", "headphones", "thanks"})
        return answered(lambda d: shown | {"kept": say("study", "kept")}, data)

    def progress(data: Any) -> dict[str, Any]:
        return answered(progress_of, data)

    def join(data: Any, request: gr.Request) -> dict[str, Any]:
        def enter(d: dict[str, Any]) -> dict[str, Any]:
            checks = d.get("checks")
            if not isinstance(checks, dict) or any(
                value not in CHECKS.get(name, ()) for name, value in checks.items()
            ):
                raise VoteError(f"checks may say {CHECKS}. Reload the page.")
            signed = study.join(is_local(request), checks)
            return {"listener": signed, "progress": progress_of({"listener": signed})}

        return answered(enter, data)

    def next_trial(data: Any) -> dict[str, Any]:
        def show(d: dict[str, Any]) -> dict[str, Any]:
            return study.next_trial(study.listener_of(text_field(d, "listener")).id)

        return answered(show, data)

    def finish(data: Any) -> dict[str, Any]:
        def end(d: dict[str, Any]) -> dict[str, Any]:
            study.test.finish(text_field(d, "ticket"))
            return progress_of(d)

        return answered(end, data)

    return [about, progress, join, next_trial, finish, *voting(lambda: study.test)]


def build(study: "Study") -> gr.Blocks:
    """The whole page."""
    with gr.Blocks(title=study.config.title) as page:
        gr.Markdown(f"# {study.config.title}")
        gr.HTML(
            '<div class="bt-root"></div>',
            js_on_load=PLAYER_JS + BLIND_JS + STUDY_JS + MOUNT_JS,
            server_functions=answers(study),
            elem_id="study",
            words=phrases("player", "blind") | {"study": words()["study"]},
        )
    found: gr.Blocks = page
    return found
