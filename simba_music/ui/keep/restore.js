// Restore: fills the form from a clip or recipe that is dropped on the page, or from its address.
"use strict";

class Restore {
  constructor(root, server) {
    Object.assign(this, { root, server });
    this.input = make("input", { type: "file", hidden: true, className: "kp-file",
      accept: ".wav,.flac,.ogg,.oga,.zip,.json" });
    this.button = make("button", { type: "button", className: "kp-open" }, WORDS.open);
    this.note = make("span", { className: "kp-note", role: "status" });
    this.cover = make("div", { className: "kp-cover", hidden: true }, WORDS.drop);
    root.replaceChildren(this.button, this.input, this.note);
    document.body.append(this.cover);
    this.button.onclick = () => this.input.click();
    this.input.onchange = () => {
      this.take(this.input.files[0]);
      this.input.value = "";
    };
    this.listen();
    const link = new URLSearchParams(location.search).get("r");
    if (link !== null) this.fill({ link });
  }

  listen() {
    const carries = (event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      this.cover.hidden = false;
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) this.cover.hidden = true;
    });
    document.addEventListener("drop", (event) => {
      this.cover.hidden = true;
      if (!carries(event)) return;
      event.preventDefault();
      this.take(event.dataTransfer.files[0]);
    });
  }

  async take(file) {
    if (!file) return;
    try {
      await this.fill({ recipe: await recipeText(file) });
    } catch (error) {
      this.note.textContent = error.message === NO_RECIPE ? WORDS.no_recipe : error.message;
    }
  }

  async fill(given) {
    const { restored, error } = await ask(this.server, "restore", given);
    if (error) {
      this.note.textContent = error;
      return;
    }
    this.note.textContent = [filled(WORDS.restored, restored), ...restored.notes].join(" ");
    restoreForm(restored, false);
  }
}
