// Download: a pair's clips as WAV, FLAC, Ogg, and both with their recipe as a ZIP.
"use strict";

const FORMS = ["wav", "flac", "ogg"];

function nameOf(url) {
  return decodeURIComponent(url.split("/").at(-1));
}

class DownloadMenu {
  constructor(root, server) {
    Object.assign(this, { root, server });
    this.rows = make("div", { className: "kp-rows" });
    this.note = make("p", { className: "kp-note", role: "status" });
    this.licence = make("p", { className: "kp-note" });
    this.menu = make("details", { className: "kp-menu", hidden: true },
      make("summary", {}, WORDS.download), this.rows, this.note, this.licence);
    root.replaceChildren(this.menu);
    this.menu.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      this.menu.open = false;
      this.menu.querySelector("summary").focus();
    };
    document.addEventListener("simba:clear", () => {
      this.menu.hidden = true;
    });
    for (const name of ["simba:pair", "simba:open"])
      document.addEventListener(name, (event) => this.show(pairOf(event.detail.pair)));
  }

  show({ recipes, urls }) {
    this.menu.hidden = urls.length === 0;
    this.note.textContent = "";
    const licence = [...new Set(recipes.map((recipe) => recipe.licence))].join(", ");
    this.licence.textContent = filled(WORDS.licence, { licence });
    const rows = urls.map((url, i) => this.row(recipes[i].model.id, url));
    const zip = make("button", { type: "button", className: "kp-zip" }, WORDS.zip);
    zip.onclick = () => this.fetch(urls[0], "ZIP", "archive", { urls });
    this.rows.replaceChildren(...rows, zip);
  }

  row(model, url) {
    const forms = FORMS.map((form) => {
      const said = { className: `kp-${form}`, "aria-label": `${model}, ${form.toUpperCase()}` };
      if (form === "wav")
        return make("a", { ...said, href: url, download: nameOf(url) }, "WAV");
      const get = () => this.fetch(url, form.toUpperCase(), "convert", { url, form });
      return make("button", { ...said, type: "button", onclick: get }, form.toUpperCase());
    });
    return make("div", { className: "kp-forms" }, make("span", {}, model), ...forms);
  }

  async fetch(url, form, question, data) {
    this.note.textContent = filled(WORDS.making, { form });
    const { file, name, error } = await ask(this.server, question, data);
    this.note.textContent = error ?? "";
    if (error) return;
    const href = `${url.split("/file=")[0]}/file=${file}`;
    make("a", { href, download: name }).click();
  }
}
