// Settings drawer: reads and writes the settings, and keeps the seed and the length in step.
"use strict";

const MOST_SEED = 2 ** 32 - 1;
const NUMBERS = ["temperature", "top_k", "top_p", "guidance"];

const drawnSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

class SettingsDrawer {
  // `root` holds the drawer and the choice of length beside the prompt; `changed` is called when
  // what is read from the prompt may have changed.
  constructor(root, told, changed) {
    Object.assign(this, { root, told, changed });
    this.box = root.querySelector(".st-settings");
    this.opener = root.querySelector(".st-open");
    this.length = root.querySelector("#st-length");
    this.lock = root.querySelector(".st-lock");
    this.normal = new Map([...this.controls].map((one) => [one, this.valueOf(one)]));
    this.showLength(this.at("duration").value);
    this.opener.onclick = () => this.open(this.box.hidden);
    root.querySelector(".st-close").onclick = () => this.open(false, true);
    root.querySelector(".st-reset").onclick = () => this.reset();
    this.lock.onclick = () => this.keep(!this.kept);
    root.querySelector(".st-dice").onclick = () => {
      this.at("seed").value = drawnSeed();
      this.keep(true);
    };
    this.length.onchange = () => this.set({ duration_s: Number(this.length.value) });
    this.box.oninput = (event) => {
      const { name } = event.target;
      if (name === "duration") this.showLength(event.target.value);
      if (name === "seed") this.keep(true); // what was typed is meant
      this.showNumbers();
      this.changed();
    };
    this.box.onkeydown = (event) => {
      if (event.key === "Escape") this.open(false, true);
    };
  }

  get controls() {
    return this.box.querySelectorAll("input, select");
  }

  at(name) {
    return this.root.querySelector(`#st-${name}`);
  }

  valueOf(control) {
    return control.type === "checkbox" ? control.checked : control.value;
  }

  write(control, value) {
    if (control.type === "checkbox") control.checked = value;
    else control.value = value;
  }

  get kept() {
    return this.lock.ariaPressed === "true";
  }

  // Whether the seed stays, or each run draws one.
  keep(on) {
    this.lock.ariaPressed = String(on);
    this.changed();
  }

  open(on, back = false) {
    this.box.hidden = !on;
    this.opener.ariaExpanded = String(on);
    if (back) this.opener.focus();
  }

  reset() {
    for (const [control, value] of this.normal) this.write(control, value);
    this.showLength(this.at("duration").value);
    this.showNumbers();
    this.keep(false);
  }

  showNumbers() {
    for (const output of this.box.querySelectorAll("output"))
      output.textContent = this.root.querySelector(`#${output.htmlFor}`).value;
  }

  // The lengths to choose from, and any other that was set.
  showLength(value) {
    const seconds = Number(value);
    const all = [...new Set([...this.told.lengths, seconds])].sort((a, b) => a - b);
    this.length.replaceChildren(...all.map((one) =>
      new Option(filled(this.told.words.seconds, { n: one }), one, false, one === seconds)));
  }

  // What the server is asked for.
  get() {
    const given = Object.fromEntries(NUMBERS.map((name) => [name, Number(this.at(name).value)]));
    return {
      ...given,
      duration_s: Number(this.at("duration").value),
      takes: Number(this.at("takes").value),
      negative: this.at("negative").value,
      chords: this.at("chords").value,
      draw: this.at("draw").checked,
      seed: this.kept ? Math.min(MOST_SEED, Math.max(0, Number(this.at("seed").value))) : null,
    };
  }

  get models() {
    return { left: this.at("left").value.trim(), right: this.at("right").value.trim(),
      engine: this.at("engine").value };
  }

  get playsAtOnce() {
    return this.at("play").checked;
  }

  // Settings by their names in a request, as far as they are given; a seed is kept.
  set(given) {
    const { duration_s: duration, seed, draw, ...rest } = given;
    if (duration !== undefined) {
      this.at("duration").value = duration;
      this.showLength(this.at("duration").value);
    }
    for (const [name, value] of Object.entries(rest)) {
      const control = this.at(name);
      if (control && value !== null) this.write(control, value);
    }
    if (draw !== undefined) this.at("draw").checked = draw;
    this.showNumbers();
    if (seed !== undefined && seed !== null) {
      this.at("seed").value = seed;
      this.keep(true);
    }
    this.changed();
  }

  // The seed that a run has drawn; it is shown and not kept.
  showSeed(seed) {
    if (!this.kept) this.at("seed").value = seed;
  }
}
