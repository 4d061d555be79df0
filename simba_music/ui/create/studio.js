// Studio: the Create tab. A prompt becomes two clips that play side by side as they are made.
"use strict";

const READ_MS = 250; // after the last key
const AGAIN_MS = 700; // between two looks at whether the models are there
const STOP_MS = 3000; // a run that was stopped is waited for so long
const QUEUE_MS = 4000; // without a word from the server, after which a place is being waited for
const LISTENER = "simba-music-open-listener";
const CONTINUE_S = 10;
const TWICE_MS = 600;
const SILENT_MS = 8000; // of a run, after which the page looks whether its server is there
const REPEATED_S = 4; // of a clip that goes on are played again
const PREFERRED_S = 1; // of each clip, before one can be preferred

class Studio {
  constructor(root, props, server, trigger, watch) {
    const { words, icons, examples, longest, rate, backbones } = props.told;
    Object.assign(this, { root, props, server, trigger, words, icons, examples, longest, rate });
    this.backbones = backbones; // their names for people
    Object.assign(this, { run: null, pair: null, player: null, context: null, asked: 0 });
    this.find = (name) => root.querySelector(name);
    this.box = this.find(".st-player");
    this.box.page = this; // see inRows
    this.prompt = this.find("#st-prompt");
    this.drawer = new SettingsDrawer(root, props.told, () => this.readSoon());
    this.bindForm();
    this.bindPlayer();
    watch(/message/.source, () => this.hear(JSON.parse(props.message)));
    document.addEventListener("simba:restore", ({ detail }) => this.restore(detail));
    document.addEventListener("simba:open", (event) => this.open(event));
    this.showExamples();
    this.clear();
    this.read();
    this.showExample();
  }

  // ---- The form. ----

  bindForm() {
    const form = this.find(".st-ask");
    form.onsubmit = (event) => {
      event.preventDefault();
      this.press();
    };
    this.prompt.onkeydown = (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.run || this.changed) this.begin();
    };
    this.prompt.oninput = () => {
      this.fit();
      this.showButton();
      this.readSoon();
    };
    this.find(".st-surprise").onclick = () => {
      const others = this.examples.filter((one) => one !== this.prompt.value);
      this.write(others[Math.floor(Math.random() * others.length)]);
    };
    document.addEventListener("keydown", (event) => this.key(event));
    this.find(".st-new").onclick = () => this.vary();
    this.find(".st-on").onclick = () => this.continue();
  }

  showExamples() {
    this.find(".st-prompts").replaceChildren(...this.examples.map((text) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "st-chip", textContent: text });
      button.textContent = text.split(/,| with /)[0];
      button.title = text;
      button.onclick = () => this.write(text);
      return button;
    }));
  }

  write(text) {
    this.prompt.value = text;
    this.fit();
    this.showButton();
    this.prompt.focus();
    this.read();
  }

  // The field is as tall as its text, up to four lines.
  fit() {
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${Math.min(this.prompt.scrollHeight, 120)}px`;
  }

  // Whether the prompt is another than that of the run that is going on.
  get changed() {
    return this.prompt.value.trim() !== this.run?.prompt;
  }

  showButton() {
    const stops = this.run && !this.changed;
    const button = this.find(".st-go");
    button.textContent = stops ? this.words.stop : this.words.generate;
    button.classList.toggle("st-stops", Boolean(stops));
  }

  press() {
    const stops = this.run && !this.changed;
    const twice = performance.now() - this.pressedAt < TWICE_MS;
    this.pressedAt = performance.now();
    if (!stops) this.begin();
    else if (!twice) this.stop(); // a double click is one press
  }

  key(event) {
    if (!this.root.offsetParent || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.defaultPrevented) return;
    const { tagName, type } = event.target;
    const writes = ["TEXTAREA", "SELECT"].includes(tagName)
      || (tagName === "INPUT" && type !== "checkbox");
    if (event.key === "Escape" && this.run) return void this.stop();
    if (event.key === "Escape" && event.target === this.prompt) return this.prompt.blur();
    if (writes || event.target.isContentEditable) return;
    if (event.key === "/") {
      event.preventDefault();
      return this.prompt.focus();
    }
    // A button that has the focus is pressed by Space, and tabs are walked with arrows.
    const presses = ["BUTTON", "A", "SUMMARY", "INPUT"].includes(tagName);
    if (presses && event.key === " ") return;
    if (event.target.role === "tab" && event.key.startsWith("Arrow")) return;
    this.player?.key(event);
  }

  // ---- What is read from the prompt. ----

  readSoon() {
    clearTimeout(this.reading);
    this.reading = setTimeout(() => this.read(), READ_MS);
  }

  async read() {
    clearTimeout(this.reading);
    const asked = ++this.asked, prompt = this.prompt.value.trim();
    const { read } = this.words;
    if (!prompt) return this.showRead([{ kind: "hint", text: read.hint }]);
    const found = await this.server.read_prompt({ prompt, settings: this.drawer.get() }).catch(() => ({}));
    if (asked !== this.asked) return;
    if (found.waiting) {
      this.showRead([{ kind: "hint", text: read.waiting }]);
      this.reading = setTimeout(() => this.read(), AGAIN_MS);
    } else if (found.error) this.showRead([{ kind: "cannot", text: found.error }]);
    else if (found.chips?.length) this.showRead(found.chips, true);
    else this.showRead([{ kind: "hint", text: read.nothing }]);
  }

  showRead(chips, labelled = false) {
    const parts = chips.map(({ kind, text }) => {
      const chip = document.createElement("span");
      chip.className = `st-said st-is-${kind}`;
      chip.textContent = text;
      return chip;
    });
    if (labelled) {
      const label = document.createElement("span");
      Object.assign(label, { className: "st-quiet", textContent: this.words.read.read });
      parts.unshift(label);
    }
    const line = this.find(".st-read");
    line.replaceChildren(...parts);
    line.scrollLeft = 0;
  }

  // ---- A run. ----

  newContext(rate) {
    if (this.context?.sampleRate === rate && this.context.state !== "closed") return this.context;
    this.context?.close();
    this.volume = null;
    return (this.context = new AudioContext({ sampleRate: rate }));
  }

  begin(changes = {}) {
    const prompt = (changes.prompt ?? this.prompt.value).trim();
    if (!prompt) {
      this.showRead([{ kind: "cannot", text: this.words.describe_first }]);
      return void this.prompt.focus();
    }
    // Some browsers let a page play only if it is said so within the press itself.
    if (this.drawer.playsAtOnce) this.newContext(this.rate).resume();
    const { models } = this.drawer;
    const settings = { ...this.drawer.get(), ...this.grownOf(prompt) };
    this.start({ prompt, ...models, settings, ...changes });
  }

  // At which lengths the clip of a link, a file or the history was continued, while the form is as
  // it was filled in then.
  grownOf(prompt) {
    const { restored, drawer } = this;
    const same = restored?.prompt === prompt && restored.settings === JSON.stringify(drawer.get());
    return same ? { grown_s: restored.grown } : {};
  }

  async start(given) {
    const turn = (this.turn = Symbol());
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const id = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const before = this.run;
    this.clear();
    this.title(given.prompt, this.words.starting);
    this.tell(this.words.making);
    if (before) {
      this.run = { ...before, left: true, prompt: given.prompt };
      this.showButton();
      await this.over(before);
      if (turn !== this.turn) return; // yet another was begun meanwhile
    }
    this.run = { id, prompt: given.prompt, given, over: null };
    this.run.ended = new Promise((done) => (this.run.over = done));
    this.showButton();
    this.waiting = setTimeout(() => this.meta(this.words.queued), QUEUE_MS);
    this.listen(this.run);
    const { prompt, ...rest } = given;
    this.trigger("submit", { run: id, prompt, ...rest });
  }

  // A run that is silent for long may have lost its server.
  listen(run) {
    clearTimeout(this.silence);
    this.silence = setTimeout(async () => {
      const there = await fetch(`${this.serverAddress}/startup-events`, { cache: "no-store" })
        .then(() => true, () => false);
      if (this.run !== run) return;
      if (there) this.listen(run);
      else this.fail(this.words.lost);
    }, SILENT_MS);
  }

  // Ends a run and waits for its end.
  over(run) {
    this.server.stop_run({ run: run.id }).catch(() => {});
    return Promise.race([run.ended, new Promise((done) => setTimeout(done, STOP_MS))]);
  }

  stop() {
    if (!this.run || this.run.stopping) return;
    this.run.stopping = true;
    this.turn = Symbol();
    this.over(this.run).then(() => {});
    if (this.run.left) return this.fail(this.words.stopped_before, true); // it had not begun
    const { run } = this;
    setTimeout(() => {
      if (this.run === run) this.fail(this.words.stopped_before, true);
    }, STOP_MS);
  }

  clear() {
    clearTimeout(this.waiting);
    this.pair = null;
    document.dispatchEvent(new CustomEvent("simba:clear"));
    this.settle();
    this.player?.leave();
    this.player = null;
    for (const button of this.box.querySelectorAll("button")) button.disabled = true;
    for (const canvas of this.box.querySelectorAll("canvas"))
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    for (const side of ["A", "B"]) {
      this.name(side, { title: "", about: "", tone: side === "A" ? "left" : "right" });
      this.match(side, "", 0);
      this.row(side).querySelector(".st-takes").hidden = true;
    }
    this.find(".ab-time").textContent = "0:00 / 0:00";
    this.find(".st-verdict").textContent = "";
    this.find(".st-numbers").replaceChildren();
    this.find(".st-result").classList.remove("st-failed");
    this.answers(false);
    this.find(".st-question").textContent = this.words.listen_first;
  }

  hear(message) {
    const { run } = this;
    if (!run || message.run !== run.id) return;
    clearTimeout(this.waiting);
    this.listen(run);
    if (run.left) { // it is only waited for
      if (message.ended || message.error) run.over?.();
      return;
    }
    if (message.note) this.meta(message.note);
    if (message.started) this.started(message.started);
    if (message.progress) this.progress(message);
    for (const chunk of message.chunks ?? []) this.player?.add(chunk.clip, chunk);
    for (const [side, clips] of Object.entries(message.clips ?? {}))
      for (const clip of clips) this.clip(side, clip);
    if (message.ended) this.ended(message.ended);
    if (message.error) this.fail(message.error, run.stopping);
  }

  started({ names, seconds, rate, takes, requests, models, engine }) {
    this.pair = { id: this.run.id, names, requests, models, engine, takes, seconds,
      clips: { A: [], B: [] }, best: {}, files: new Map() };
    for (const side of ["A", "B"]) this.name(side, names[side]);
    this.drawer.showSeed(requests.A.seed);
    const { prompt, seed, ...settings } = requests.A;
    const asked = { prompt, seed, settings, models: { left: models.A, right: models.B } };
    document.dispatchEvent(new CustomEvent("simba:start", { detail: { id: this.run.id, ...asked } }));
    this.meta(this.words.making);
    const called = { A: names.A.title, B: names.B.title };
    this.player = new StreamInRows(this.box, called, this.newContext(rate), seconds);
    const begun = (requests.A.grown_s ?? []).at(-1);
    if (begun) this.player.live.seek(Math.max(0, begun - REPEATED_S)); // what came before is known
    if (this.drawer.playsAtOnce) this.player.playSoon();
  }

  progress({ progress, left_s: left }) {
    for (const [side, { share, take, takes, again }] of Object.entries(progress)) {
      const of = filled(this.words.take_of, { n: take + 1, of: takes });
      const parts = [`${Math.round(100 * share)} %`, takes > 1 && of, again && this.words.again];
      this.match(side, parts.filter(Boolean).join(" · "), share, true);
    }
    if (left !== undefined)
      this.meta(left < 1 ? this.words.nearly
        : filled(this.words.time_left, { n: Math.round(left) }));
  }

  clip(side, clip) {
    this.pair.clips[side][clip.take] = clip;
    if (this.pair.takes === 1) this.match(side, clip.match, clip.share);
  }

  async ended({ ranks, verdicts, stopped, seconds }) {
    const { pair, player, run } = this;
    this.finish();
    Object.assign(pair, { ranks, verdicts, stopped, took: seconds });
    player.end();
    for (const side of ["A", "B"]) pair.best[side] = ranks[side][0];
    for (const side of ["A", "B"])
      if (!ranks[side].length) this.match(side, this.words.not_made, 0);
    if (!ranks.A.length || !ranks.B.length) { // stopped when one side had nothing yet
      const any = ranks.A.length || ranks.B.length;
      this.meta(any ? this.words.stopped : this.words.stopped_before);
      return this.settle();
    }
    this.showPair();
    this.tell(stopped ? this.words.stopped : this.find(".st-verdict").textContent);
    await this.loadTakes((clips) => player.load(clips));
    if (this.pair !== pair) return;
    this.settle();
    this.announce();
  }

  // All that follows from which takes are chosen, but the sound.
  showPair() {
    const { pair, words } = this;
    for (const side of ["A", "B"]) {
      const clip = pair.clips[side][pair.best[side]];
      this.match(side, clip.match, clip.share);
      this.takes(side);
    }
    const [a, b] = ["A", "B"].map((side) => pair.clips[side][pair.best[side]]);
    const said = pair.verdicts[`${pair.best.A}-${pair.best.B}`];
    this.find(".st-verdict").textContent = said.text;
    const phrase = pair.stopped ? words.stopped
      : a.seed === b.seed ? words.made : pair.takes > 1 ? words.made_takes : words.made_seeds;
    const values = { length: a.seconds, seed: a.seed, other: b.seed,
      seconds: pair.took.toFixed(1) };
    this.meta(filled(phrase, values));
    this.find(".st-numbers").innerHTML =
      `<div>${a.details}</div><div>${b.details}</div>`;
    const numbers = document.createElement("p");
    numbers.textContent = said.numbers;
    this.find(".st-numbers").append(numbers);
    this.settle();
  }

  // Whether a pair is shown that can be gone on from: made here, or of the history.
  get whole() {
    return Boolean(this.pair?.verdicts || this.pair?.kept);
  }

  settle() {
    this.find(".st-new").disabled = !this.whole;
    this.showContinue();
  }

  takes(side) {
    const { pair, words } = this, box = this.row(side).querySelector(".st-takes");
    const ranks = pair.ranks[side];
    box.hidden = ranks.length < 2;
    box.replaceChildren(...ranks.map((take, i) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "st-take", textContent: take + 1 });
      button.ariaPressed = String(take === pair.best[side]);
      button.ariaLabel = filled(words.take, { n: take + 1, rank: i + 1, of: ranks.length });
      button.title = button.ariaLabel;
      button.onclick = () => this.choose(side, take);
      return button;
    }));
  }

  async choose(side, take) {
    const { pair, player } = this;
    if (pair.best[side] === take) return;
    pair.best[side] = take;
    this.showPair();
    this.row(side).querySelector(".st-take[aria-pressed=true]").focus();
    await this.loadTakes((clips) => player.change(clips));
    this.settle();
    this.announce();
  }

  async loadTakes(load) {
    const { pair } = this;
    const [A, B] = await Promise.all(["A", "B"].map((side) =>
      this.fetchFile(pair.clips[side][pair.best[side]].file)));
    await load({ A, B });
  }

  get serverAddress() {
    const { root = "", api_prefix: prefix = "/gradio_api" } = window.gradio_config ?? {};
    return `${root.replace(/\/$/, "")}${prefix}`;
  }

  address(file) {
    return `${this.serverAddress}/file=${file.split("/").map(encodeURIComponent).join("/")}`;
  }

  async fetchFile(file) {
    const answer = await fetch(this.address(file), { cache: "force-cache" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer.arrayBuffer();
  }

  // For the history, downloads and links: a pair is there, or another take of it.
  announce() {
    const { pair } = this;
    if (!pair?.best) return;
    const of = (what) => Object.fromEntries(["A", "B"].map((side) =>
      [side, what(pair.clips[side][pair.best[side]])]));
    const detail = { pair: {
      id: pair.id, prompt: pair.requests.A.prompt, names: pair.names, models: pair.models,
      engine: pair.engine, request: pair.requests.A, requests: pair.requests,
      takes: { ...pair.best }, seconds: of((clip) => clip.seconds), recipes: of((clip) => clip.recipe),
      urls: of((clip) => this.address(clip.file)), files: of((clip) => clip.file),
      matches: of((clip) => clip.match), stopped: pair.stopped,
      verdict: this.find(".st-verdict").textContent,
    } };
    document.dispatchEvent(new CustomEvent("simba:pair", { detail }));
  }

  // No run is going on any more.
  finish() {
    clearTimeout(this.waiting);
    clearTimeout(this.silence);
    this.run?.over?.();
    this.run = null;
    document.dispatchEvent(new CustomEvent("simba:end"));
    this.showButton();
  }

  fail(sentence, quiet = false) {
    this.player?.end?.();
    this.finish();
    const any = this.pair && Object.values(this.pair.clips).some((clips) => clips.length);
    if (!any) this.clear();
    if (!quiet) {
      this.find(".st-result").classList.add("st-failed");
      this.title(this.words.failed, sentence);
    } else this.meta(sentence);
    this.tell(sentence);
  }

  // ---- Going on from a pair. ----

  // Another draw of the pair that is shown.
  vary() {
    const { pair } = this;
    if (!pair) return;
    this.drawer.keep(false);
    this.begin({ ...this.asShown(), settings: { ...this.settingsOf(pair), seed: null } });
  }

  asShown() {
    const { pair } = this, { prompt } = pair.requests.A;
    return { prompt, left: pair.models.A, right: pair.models.B, engine: pair.engine };
  }

  settingsOf(pair) {
    const { prompt, seed, subseed, grown_s: grown, ...rest } = pair.requests.A;
    return { ...rest, takes: pair.takes };
  }

  get longer() {
    const { pair } = this;
    if (!this.whole) return 0;
    return Math.min(this.longest, pair.requests.A.duration_s + CONTINUE_S);
  }

  showContinue() {
    const { pair, words } = this, button = this.find(".st-on");
    if (!this.whole) {
      button.querySelector("span").textContent = filled(words.continue, { n: CONTINUE_S });
      return void (button.disabled = true);
    }
    const more = pair.stopped ? CONTINUE_S : this.longer - pair.requests.A.duration_s;
    button.disabled = !(more > 0);
    button.title = more > 0 ? words.continue_help
      : filled(words.longest, { n: this.longest });
    button.querySelector("span").textContent =
      filled(words.continue, { n: more > 0 && !pair.stopped ? more : CONTINUE_S });
  }

  // Both clips go on from their codes; of a run that was stopped, to the length it was to have.
  continue() {
    const { pair } = this;
    if (!pair) return;
    const seeds = Object.fromEntries(["A", "B"].map((side) => {
      const { seed, subseed = 0 } = pair.clips[side][pair.best[side]] ?? pair.requests[side];
      return [side, { seed, subseed: subseed ?? 0 }];
    }));
    const { duration_s: length, grown_s: grown = [] } = pair.requests.A;
    const goes = pair.stopped ? { duration_s: length, grown_s: grown }
      : { duration_s: this.longer, grown_s: [...grown, length] };
    const settings = { ...this.settingsOf(pair), ...goes, takes: 1, seed: seeds.A.seed };
    this.begin({ ...this.asShown(), settings, own: seeds });
  }

  // A prompt with its settings again, as a link, a file or the history has them.
  restore({ prompt, settings = {}, seed, play = false }) {
    const { left, right, ...rest } = settings;
    if (left) this.drawer.at("left").value = left;
    if (right) this.drawer.at("right").value = right;
    this.drawer.set({ ...rest, seed: seed ?? rest.seed });
    this.write(prompt ?? "");
    this.restored = { prompt: this.prompt.value.trim(), grown: rest.grown_s ?? [],
      settings: JSON.stringify(this.drawer.get()) };
    if (play) return this.begin();
    if (this.run) return;
    this.clear();
    const { duration_s: length, seed: kept } = this.drawer.get();
    this.title(this.restored.prompt, filled(this.words.restored, { length, seed: kept }));
  }

  // ---- A pair of the history. ----

  async open(event) {
    const { recipes, urls } = event.detail.pair;
    if (this.run || urls.length !== 2) return; // the history has players of its own
    event.preventDefault();
    this.clear();
    const called = {};
    for (const [i, side] of ["A", "B"].entries()) {
      const name = recipes[i].model.id.split("/").pop();
      called[side] = this.backbones[name] ?? name;
      const about = `#${recipes[i].request.seed}`;
      this.name(side, { title: called[side], about, tone: side === "A" ? "left" : "right" });
    }
    this.title(recipes[0].request.prompt, this.words.from_history);
    const player = (this.player = new PairInRows(this.box, called));
    player.context = this.newContext(this.rate);
    const [A, B] = await Promise.all(urls.map(async (url) => (await fetch(url)).arrayBuffer()));
    if (this.player !== player) return;
    await player.load({ A, B });
    this.pair = this.pairOf(recipes);
    this.settle();
    player.toggle();
    this.root.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  // As much of a pair of the history as it takes to go on from it.
  pairOf(recipes) {
    const of = (what) => ({ A: what(recipes[0]), B: what(recipes[1]) });
    return { kept: true, takes: 1, best: { A: 0, B: 0 }, requests: of(({ request }) => request),
      engine: this.drawer.models.engine, models: of(({ model }) => model.id),
      clips: of(({ request: { seed, subseed } }) => [{ seed, subseed }]) };
  }

  // ---- The example. ----

  async showExample() {
    const found = await this.server.open_example({}).catch(() => ({}));
    if (this.run || this.pair) return;
    if (found.waiting) return void setTimeout(() => this.showExample(), AGAIN_MS);
    if (!found.files) return this.meta("");
    const { names, matches, verdict, request, files } = found;
    for (const side of ["A", "B"]) {
      this.name(side, names[side]);
      this.match(side, matches[side].match, matches[side].share);
    }
    this.title(request.prompt, this.words.example);
    this.find(".st-verdict").textContent = verdict.text;
    const called = { A: names.A.title, B: names.B.title };
    const player = (this.player = new PairInRows(this.box, called));
    player.context = this.newContext(this.rate);
    const [A, B] = await Promise.all(["A", "B"].map((side) => this.fetchFile(files[side])));
    if (this.player !== player) return;
    await player.load({ A, B });
    this.settle();
  }

  // ---- The player's surroundings. ----

  bindPlayer() {
    this.level = 1;
    this.find(".st-volume input").oninput = (event) => {
      this.level = Number(event.target.value);
      // Squared, as loudness is heard.
      if (this.volume) this.volume.gain.value = this.level ** 2;
    };
    for (const button of this.root.querySelectorAll("[data-choice]"))
      button.onclick = () => this.prefer(button.dataset.choice);
    setInterval(() => {
      // One player at a time: that of another tab has the keys now.
      if (this.player?.playing && !this.root.offsetParent) this.player.stop();
      this.mayPrefer();
    }, 300);
  }

  // What all sound goes through.
  volumeOf(context) {
    if (this.volume?.context !== context) {
      this.volume = new GainNode(context, { gain: this.level ** 2 });
      this.volume.connect(context.destination);
    }
    return this.volume;
  }

  row(side) {
    return this.find(`.st-row[data-side=${side}]`);
  }

  name(side, { title, about, tone }) {
    const row = this.row(side);
    row.dataset.tone = tone;
    row.querySelector("small").textContent = about;
    for (const part of this.root.querySelectorAll(
      `[data-side=${side}] > .st-called, [data-choice=${side}] > .st-called`))
      part.textContent = title || (side === "A" ? this.words.first : this.words.second);
    if (!title) row.querySelector(".st-called").textContent = "";
  }

  match(side, text, share, going = false) {
    const box = this.row(side).querySelector(".st-match");
    box.classList.toggle("st-going", going);
    box.firstElementChild.textContent = text;
    box.querySelector("i").style.setProperty("--share", `${Math.round(100 * share)}%`);
  }

  title(text, meta) {
    this.find(".st-title h2").textContent = text;
    this.find(".st-title h2").title = text;
    this.meta(meta);
  }

  meta(text) {
    this.find(".st-meta").textContent = text;
  }

  // To those who do not see the page.
  tell(text) {
    this.find(".st-tell").textContent = text;
  }

  // ---- Which is preferred. ----

  answers(on, chosen = null) {
    for (const button of this.root.querySelectorAll("[data-choice]")) {
      button.disabled = !on;
      if (chosen) button.ariaPressed = String(button.dataset.choice === chosen);
      else button.removeAttribute("aria-pressed");
    }
  }

  mayPrefer() {
    const { pair, player } = this;
    if (!pair?.verdicts || pair.chosen || !player) return;
    const heard = ["A", "B"].every((side) => secondsOf(player.heard[side]) >= PREFERRED_S);
    this.answers(heard);
    this.find(".st-question").textContent = heard ? this.words.prefer : this.words.listen_first;
  }

  async prefer(preference) {
    const { pair, player } = this;
    if (!pair || pair.chosen) return;
    pair.chosen = preference;
    this.answers(false, preference);
    let listener = null;
    try {
      listener = localStorage.getItem(LISTENER);
    } catch {
      // a browser that keeps nothing
    }
    const { heard, switches } = player;
    const key = `${pair.id}:${pair.best.A}-${pair.best.B}`;
    const answer = await this.server.prefer_clip(
      { pair: key, preference, heard, switches, listener }).catch(() => ({ error: "" }));
    if (this.pair !== pair) return;
    if (answer.error !== undefined) pair.chosen = null;
    else {
      try {
        localStorage.setItem(LISTENER, answer.listener);
      } catch {
        // likewise
      }
    }
    const said = answer.error ?? this.words.thanks;
    this.find(".st-question").textContent = said;
    this.tell(said);
  }
}
