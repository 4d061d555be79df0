// History: the pairs of this browser; plays them while the server has them, else generates again.
"use strict";

class HistoryPanel {
  constructor(root, server) {
    Object.assign(this, { root, server, there: new Map(), opened: null, removed: null });
    this.list = make("ul", { className: "kp-list" });
    this.note = make("p", { className: "kp-note", role: "status" });
    this.about = make("p", { className: "kp-note" });
    root.replaceChildren(
      make("h2", { className: "kp-title" }, WORDS.history), this.list, this.note, this.about);
    this.entries = readHistory();
    const on = (name, done) => document.addEventListener(name, (event) => done(event.detail));
    on("simba:start", (asked) => this.begin(asked));
    on("simba:pair", ({ pair }) => this.add(entryOf(pair, Date.now())));
    on("simba:end", () => this.settle());
    window.addEventListener("storage", (event) => {
      if (event.key === HISTORY_KEY) this.show(readHistory());
    });
    this.recover();
    this.show(this.entries);
    this.look();
  }

  // What was being generated when this tab was reloaded: the server ended it then.
  recover() {
    const kept = storageOf("sessionStorage")?.getItem(PENDING_KEY);
    this.settle();
    if (!kept) return;
    const { id, ...asked } = JSON.parse(kept);
    const lost = { id, at: Date.now(), star: false, recipes: [], urls: [], asked };
    this.entries = withEntry(this.entries, lost);
    writeHistory(this.entries);
  }

  begin(asked) {
    storageOf("sessionStorage")?.setItem(PENDING_KEY, JSON.stringify(asked));
  }

  settle() {
    storageOf("sessionStorage")?.removeItem(PENDING_KEY);
  }

  add(entry) {
    this.settle();
    entry.urls.forEach((url) => this.there.set(url, true));
    // Another tab may have added some since.
    this.change(withEntry(readHistory(), entry));
  }

  change(entries) {
    this.kept = writeHistory(entries);
    this.show(entries);
  }

  // Which clips the server still has, in one question.
  async look() {
    const urls = this.entries.flatMap((entry) => entry.urls).slice(0, 2 * MOST_KEPT);
    if (!urls.length) return;
    const { there } = await ask(this.server, "there", { urls });
    there?.forEach((found, i) => this.there.set(urls[i], found));
    this.show(this.entries);
  }

  playable(entry) {
    return entry.urls.length > 0 && entry.urls.every((url) => this.there.get(url) !== false);
  }

  show(entries) {
    this.entries = entries;
    const note = this.kept === false ? WORDS.not_kept : filled(WORDS.private, { most: MOST_KEPT });
    this.about.textContent = entries.length ? note : WORDS.empty;
    this.list.replaceChildren(...entries.map((entry) => this.row(entry)));
  }

  row(entry) {
    const { prompt, seed, settings, models } = entry.asked;
    const playable = this.playable(entry);
    const button = (name, text, label, done, more = {}) => {
      const said = { type: "button", className: name, onclick: done, title: label };
      return make("button", { ...said, "aria-label": `${label}: ${prompt}`, ...more }, text);
    };
    const go = playable
      ? button("kp-play", "▶", WORDS.play, () => this.open(entry))
      : button("kp-again", "↻", WORDS.again, () => this.again(entry));
    const when = new Date(entry.at).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    const parts = [...new Set(Object.values(models ?? {}))];
    const about = [...parts, filled(WORDS.seconds, { n: lengthOf(entry) }), `#${seed}`, when];
    if (!entry.urls.length) about.unshift(WORDS.interrupted);
    const row = make("li", { className: "kp-row" },
      go,
      make("div", { className: "kp-what" },
        make("span", { className: "kp-prompt", title: prompt }, prompt),
        make("span", { className: "kp-about" }, about.join(" · "))),
      button("kp-star", entry.star ? "★" : "☆", WORDS.star, () => this.star(entry.id),
        { "aria-pressed": String(entry.star) }),
      button("kp-delete", "✕", WORDS.delete, () => this.delete(entry.id)));
    if (this.opened === entry.id && playable) row.append(this.players(entry));
    return row;
  }

  // The page's player takes the pair, or else there are two plain ones here.
  async open(entry) {
    const { there } = await ask(this.server, "there", { urls: entry.urls });
    there?.forEach((found, i) => this.there.set(entry.urls[i], found));
    const left = this.playable(entry);
    this.note.textContent = left ? "" : WORDS.gone;
    const { id, recipes, urls } = entry;
    const taken = left && !send("simba:open", { pair: { id, recipes, urls } });
    this.opened = left && !taken ? id : null;
    this.show(this.entries);
    this.list.querySelector("audio")?.play().catch(() => {});
  }

  players(entry) {
    const each = entry.urls.map((src, i) => make("label", { className: "kp-clip" },
      entry.recipes[i]?.model.id ?? "", make("audio", { src, controls: true, preload: "none" })));
    const box = make("div", { className: "kp-players" }, ...each);
    box.addEventListener("play", (event) => box.querySelectorAll("audio").forEach((one) => {
      if (one !== event.target) one.pause();
    }), true);
    return box;
  }

  // What was left before it was done gives way to the new try.
  again(entry) {
    this.note.textContent = "";
    if (!entry.urls.length) this.change(readHistory().filter(({ id }) => id !== entry.id));
    restoreForm(entry.asked, true);
  }

  star(id) {
    this.change(readHistory().map((e) => (e.id === id ? { ...e, star: !e.star } : e)));
    this.focus(id, ".kp-star");
  }

  delete(id) {
    const before = readHistory();
    const at = before.findIndex((entry) => entry.id === id);
    this.change(before.filter((entry) => entry.id !== id));
    const undo = make("button", { type: "button", className: "kp-undo" }, WORDS.undo);
    undo.onclick = () => {
      this.note.textContent = "";
      const now = readHistory();
      this.change([...now.slice(0, at), before[at], ...now.slice(at)].slice(0, MOST_KEPT));
      this.focus(id, ".kp-delete");
    };
    this.note.replaceChildren(`${WORDS.deleted} `, undo);
    undo.focus();
  }

  focus(id, name) {
    const row = this.entries.findIndex((entry) => entry.id === id);
    this.list.children[row]?.querySelector(name).focus();
  }
}
