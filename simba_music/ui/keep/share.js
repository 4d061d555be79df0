// Share: the address that opens a pair's prompt and settings, copied or handed to the phone.
"use strict";

function recipeFile(recipes) {
  const clips = recipes.map((recipe, i) => [`${i + 1}.wav`, { recipe }]);
  return JSON.stringify({ schema: 2, clips: Object.fromEntries(clips) });
}

class ShareButton {
  constructor(root, server) {
    Object.assign(this, { root, server, address: null, latest: 0 });
    this.button = make("button", { type: "button", className: "kp-share", disabled: true },
      WORDS.share);
    this.field = make("input", { className: "kp-link", readOnly: true, hidden: true,
      "aria-label": WORDS.share });
    this.note = make("span", { className: "kp-note", role: "status" });
    root.replaceChildren(this.button, this.field, this.note);
    this.button.onclick = () => this.share();
    document.addEventListener("simba:clear", () => {
      this.latest += 1;
      this.button.disabled = this.field.hidden = true;
      this.note.textContent = "";
    });
    for (const name of ["simba:pair", "simba:open"])
      document.addEventListener(name, (event) => this.prepare(pairOf(event.detail.pair).recipes));
  }

  // The address is made ahead: some browsers copy only within the press of the button.
  async prepare(recipes) {
    const mine = ++this.latest;
    this.button.disabled = true;
    const { link, error } = await ask(this.server, "link", { recipes: recipeFile(recipes) });
    if (mine !== this.latest) return;
    this.note.textContent = error ?? "";
    this.field.hidden = true;
    this.address = link && `${location.origin}${location.pathname}?r=${link}`;
    this.button.disabled = !link;
  }

  async share() {
    if (navigator.share && matchMedia("(pointer: coarse)").matches) {
      try {
        return await navigator.share({ url: this.address });
      } catch (error) {
        if (error.name === "AbortError") return;
      }
    }
    try {
      await navigator.clipboard.writeText(this.address);
      this.note.textContent = WORDS.copied;
    } catch {
      this.note.textContent = WORDS.copy_this;
      this.field.value = this.address;
      this.field.hidden = false;
      this.field.select();
    }
  }
}
