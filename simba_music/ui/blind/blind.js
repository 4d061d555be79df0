// Blind test: one pair after the other, a vote once both were heard, undo, then the reveal.
"use strict";

const LISTENER_KEY = "simba-music-listener";
const DIMENSIONS = ["prompt fit", "melody", "harmony", "rhythm", "sound quality"];
const NEXT_S = 8;
// Vote keys lie in a row, far from the keys that listen, in the same place on most keyboards.
const CHOICES = [
  { value: "A", key: "u" },
  { value: "B", key: "i" },
  { value: "TIE", key: "o" },
  { value: "BOTH_BAD", key: "p" },
];

function make(tag, className, text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

function percent(share) {
  return Math.round(100 * share);
}

// "SiMBA 3, Transformer 1, alike 2" of counts by A, B, TIE and BOTH_BAD.
function tallyText(counts, names, words) {
  const called = { A: names.A, B: names.B, ...words.tally };
  const found = Object.keys(called).filter((key) => key.length === 1 || counts[key] > 0);
  const said = (key) => filled(words.tallied, { what: called[key], n: counts[key] });
  return found.map(said).join(", ");
}

// What everyone's votes say; a share only where there are enough of them.
function crowdText(crowd, names, words) {
  const votes = counted(words.votes, crowd.votes);
  if (crowd.share === undefined) return filled(words.too_few, { votes, fewest: crowd.fewest });
  const first = crowd.share >= 0.5;
  const [share, low, high] = first
    ? [crowd.share, crowd.low, crowd.high] : [1 - crowd.share, 1 - crowd.high, 1 - crowd.low];
  const shares = { share: percent(share), low: percent(low), high: percent(high) };
  const { decided } = crowd, name = first ? names.A : names.B;
  return filled(words.preferred, { name, decided, ...shares });
}

// Seconds that go by while `going()` holds; shown in `place` by a phrase, then `done` is called.
class Countdown {
  constructor(place, phrase, seconds, going, done) {
    this.left = seconds;
    let last = performance.now();
    const tick = () => {
      const now = performance.now();
      if (going()) this.left -= (now - last) / 1000;
      last = now;
      place.textContent = filled(phrase, { n: Math.max(0, Math.ceil(this.left)) });
      if (this.left > 0) return;
      this.stop();
      done();
    };
    this.timer = setInterval(tick, 200);
    tick();
  }

  stop() {
    clearInterval(this.timer);
  }
}

class BlindTest {
  // `modelNames` are what people call the models.
  constructor(root, server, words, modelNames) {
    Object.assign(this, { root, server, words, modelNames, pair: null, state: "start", number: 0 });
    root.innerHTML = `
      <div class="bt" tabindex="-1" data-state="start" role="region"
        aria-label="${escaped(words.region)}">
        <div class="bt-start">
          <p class="bt-lead"></p>
          <button type="button" class="bt-go bt-main" disabled>${escaped(words.start)}</button>
          <p class="bt-count"></p>
        </div>
        <div class="bt-trial">
          <p class="bt-place"></p>
          <p class="bt-prompt"></p>
          <div class="bt-player"></div>
          <div class="bt-vote">
            <h3 class="bt-question" id="bt-question">${escaped(words.question)}</h3>
            <div class="bt-choices" role="group" aria-labelledby="bt-question"></div>
            <p class="bt-heard"></p>
            <details class="bt-more"><summary>${escaped(words.more)}</summary>
              <table class="bt-ratings"></table>
              <label>${escaped(words.remark)}
                <textarea maxlength="2000" rows="2"></textarea></label>
            </details>
          </div>
          <div class="bt-after"></div>
          <p class="bt-keys"></p>
        </div>
        <div class="bt-error" role="alert"></div>
        <div class="bt-say" aria-live="polite"></div>
      </div>`;
    const names = { A: "A", B: "B" };
    this.player = new BlindPlayer(this.find(".bt-player"), names, () => this.heard(), words);
    this.find(".bt-lead").textContent = words.lead;
    this.find(".bt-go").onclick = () => this.next();
    document.addEventListener("keydown", (event) => this.key(event));
    this.drawChoices();
    this.hello();
  }

  find(name) {
    return this.root.querySelector(name);
  }

  enterState(state) {
    this.state = this.find(".bt").dataset.state = state;
    const { words } = this;
    const keys = { trial: words.keys_trial, voted: words.keys_voted, shown: words.keys_shown };
    this.find(".bt-keys").textContent = filled(keys[state] ?? "", { listen: words.keys_listen });
  }

  say(text) {
    const place = this.find(".bt-say");
    if (place.textContent !== text) place.textContent = text;
  }

  // Whether the page shows it, and not another tab.
  get visible() {
    return this.root.isConnected && this.root.offsetParent !== null;
  }

  // Calls the server; says what went wrong, and returns null then.
  async ask(name, data) {
    this.find(".bt-error").textContent = "";
    let found;
    try {
      found = await this.server[name](data);
    } catch (error) {
      found = { error: this.words.no_answer };
    }
    if (found.error) this.find(".bt-error").textContent = found.error;
    return found.error ? null : found;
  }

  // One question at a time: a key that is held or pressed twice asks once.
  async once(work) {
    if (this.busy) return;
    this.busy = true;
    try {
      await work();
    } finally {
      this.busy = false;
    }
  }

  async hello() {
    const found = await this.ask("hello", { listener: localStorage.getItem(LISTENER_KEY) });
    if (!found) return;
    localStorage.setItem(LISTENER_KEY, found.listener);
    this.listener = found.listener;
    this.unheard = found.unheard;
    this.find(".bt-count").textContent = found.unheard
      ? counted(this.words.unheard, found.unheard)
      : found.preparing ? this.words.preparing : this.words.none_left;
    this.find(".bt-go").disabled = found.unheard === 0;
    if (!this.pair) this.restore();
    clearTimeout(this.again);
    if (found.preparing) this.again = setTimeout(() => !this.pair && this.hello(), 2000);
  }

  // After a reload: the pair that was there, unless another has come meanwhile.
  async restore() {
    const found = await this.ask("left_open", { listener: this.listener });
    if (found?.pair && !this.pair) this.present(found.pair, true);
  }

  next() {
    return this.once(async () => {
      const pair = await this.ask("next_pair", { listener: this.listener });
      if (pair) await this.present(pair, true);
    });
  }

  async written(battle) {
    this.present(await this.ask("show_pair", { listener: this.listener, battle }));
  }

  async present(pair, goesOn = false) {
    if (!pair) return;
    this.countdown?.stop();
    this.pair = pair;
    this.goesOn = goesOn; // whether the next pair comes by itself
    this.number += 1;
    this.find(".bt-place").textContent = this.placeText();
    this.find(".bt-prompt").textContent = pair.prompt;
    this.find(".bt-after").replaceChildren();
    this.root.querySelector("textarea").value = "";
    this.root.querySelectorAll("input:checked").forEach((input) => (input.checked = false));
    this.find(".bt-more").open = false;
    this.enterState("trial");
    await this.player.load(pair);
    this.player.loop = [0, this.player.duration]; // so that the second clip is not cut short
    this.player.show();
    this.say(filled(this.words.spoken, { place: this.placeText(), prompt: pair.prompt }));
    this.heard();
    this.focus();
  }

  placeText() {
    return filled(this.words.pair, { n: this.number });
  }

  focus() {
    if (this.visible) this.find(".bt").focus({ preventScroll: true });
  }

  drawChoices() {
    const { choices, dimensions, rating } = this.words;
    for (const { value, key } of CHOICES) {
      const button = make("button", "bt-choice", choices[value]);
      Object.assign(button, { type: "button", disabled: true });
      button.dataset.choice = value;
      button.setAttribute("aria-keyshortcuts", key.toUpperCase());
      button.onclick = () => this.vote(value);
      const shown = make("kbd", "", key.toUpperCase());
      shown.setAttribute("aria-hidden", "true");
      button.append(shown);
      this.find(".bt-choices").append(button);
    }
    const said = (side, name, n) =>
      escaped(filled(rating, { dimension: dimensions[name], side, n }));
    const cell = (side, dimension) =>
      [1, 2, 3, 4, 5].map((n) => `<label><input type="radio" name="${side} ${dimension}"
        data-side="${side}" data-dimension="${dimension}" value="${n}"
        aria-label="${said(side, dimension, n)}">${n}</label>`).join(" ");
    this.find(".bt-ratings").innerHTML = "<tr><td></td><th>A</th><th>B</th></tr>" +
      DIMENSIONS.map((d) => `<tr><th>${escaped(dimensions[d])}</th><td>${cell("A", d)}</td>` +
        `<td>${cell("B", d)}</td></tr>`).join("");
  }

  // Seconds of each side that are still to be heard.
  missing() {
    const left = (side) => this.pair.heard_s - secondsOf(this.player.heard[side]);
    return { A: Math.max(0, left("A")), B: Math.max(0, left("B")) };
  }

  missingText() {
    const left = Object.entries(this.missing()).filter(([, seconds]) => seconds > 0);
    const [first, second] = left.map(([side, seconds]) =>
      filled(this.words.missing, { n: Math.ceil(seconds), side }));
    return second ? filled(this.words.both, { first, second }) : first ?? "";
  }

  heard() {
    if (this.state === "shown" && this.player.playing) this.stay(); // whoever listens again
    if (!this.pair || this.state !== "trial") return;
    this.player.need(this.missing());
    const text = this.missingText(), { words } = this;
    const line = this.find(".bt-heard");
    const note = text ? filled(words.listen_more, { what: text }) : words.choose;
    if (line.textContent !== note) line.textContent = note;
    if (!text && this.find(".bt-choice").disabled) this.say(filled(words.can_choose, words));
    for (const button of this.find(".bt-choices").children) button.disabled = text !== "";
  }

  ratings() {
    const found = { A: {}, B: {} };
    for (const input of this.root.querySelectorAll("input:checked"))
      found[input.dataset.side][input.dataset.dimension] = Number(input.value);
    return found;
  }

  vote(preference) {
    if (!this.pair || this.state !== "trial") return;
    const text = this.missingText();
    if (text) return this.say(filled(this.words.listen_more, { what: text }));
    return this.once(async () => {
      this.player.stop();
      const kept = await this.ask("vote", {
        ticket: this.pair.ticket,
        preference,
        ratings: this.ratings(),
        remark: this.root.querySelector("textarea").value,
        heard: this.player.heard,
        switches: this.player.switches,
      });
      if (kept) this.wait(preference, kept.undo_s);
    });
  }

  // A button of the card after the vote, with its key.
  button(className, text, key, act) {
    const button = make("button", className, text);
    Object.assign(button, { type: "button", onclick: act });
    button.setAttribute("aria-keyshortcuts", key);
    const shown = make("kbd", "", key === "Enter" ? this.words.enter : key);
    shown.setAttribute("aria-hidden", "true");
    button.append(shown);
    return button;
  }

  // The vote can be taken back for a while, in which nothing is told; then, or at once if wanted,
  // it goes on.
  wait(preference, seconds) {
    this.enterState("voted");
    const { words } = this, chose = { chose: words.chose[preference] };
    const left = make("span", "bt-left");
    left.setAttribute("aria-hidden", "true");
    const row = make("div", "bt-row");
    row.append(
      this.button("bt-undo", words.undo, "Z", () => this.undo()),
      this.button("bt-on bt-main", this.onText(), "Enter", () => this.settle(true)),
      left,
    );
    const note = make("p", "bt-note", this.waitText());
    this.find(".bt-after").replaceChildren(
      make("p", "bt-chosen", filled(words.chosen, chose)), note, row);
    this.countdown?.stop();
    this.countdown = new Countdown(
      left, words.counting, seconds + 0.3, () => true, () => this.settle(false));
    this.focus();
    this.say(filled(words.voted, chose));
  }

  onText() {
    return this.words.show;
  }

  waitText() {
    return "";
  }

  undo() {
    if (this.state !== "voted") return;
    return this.once(async () => {
      this.countdown.stop();
      const undone = await this.ask("undo", { ticket: this.pair.ticket });
      if (!undone) return; // it stands: the button that goes on is still there
      this.enterState("trial");
      this.find(".bt-after").replaceChildren();
      this.heard();
      this.focus();
      this.say(this.words.undone);
    });
  }

  // The vote is final: which side was which, and what the votes say so far.
  settle(early) {
    if (this.state !== "voted") return;
    return this.once(async () => {
      this.countdown.stop();
      const shown = await this.ask("reveal", { ticket: this.pair.ticket, final: early });
      if (shown) this.reveal(shown);
    });
  }

  reveal(shown) {
    this.enterState("shown");
    const models = { A: shown.A.checkpoint, B: shown.B.checkpoint };
    const names = {}, { words } = this;
    for (const side of ["A", "B"]) names[side] = this.modelNames[models[side]] ?? models[side];
    this.player.reveal(names, models);
    const list = make("ul", "bt-reveal");
    for (const side of ["A", "B"]) {
      const { score } = shown[side];
      const scored = typeof score === "number";
      const was = filled(scored ? words.was_scored : words.was,
        { name: names[side], score: scored && score.toFixed(2) });
      const item = make("li", "bt-model");
      item.dataset.model = models[side];
      item.append(make("b", "", side), ` ${was}`);
      list.append(item);
    }
    const name = names[shown.preference], chose = words.chose[shown.preference];
    const chosen = filled(name ? words.chosen_model : words.chosen, { chose, name });
    const after = [make("p", "bt-chosen", chosen), list];
    if (shown.own) {
      const own = { tally: tallyText(shown.own, names, words) };
      const all = { tally: crowdText(shown.crowd, names, words) };
      after.push(make("p", "bt-tally", filled(words.own_votes, own)));
      after.push(make("p", "bt-tally", filled(words.all_votes, all)));
    }
    after.push(make("p", "bt-note", filled(words.seed, { n: shown.seed })), this.goOnRow());
    this.find(".bt-after").replaceChildren(...after);
    this.focus();
    this.say(after.slice(0, -2).map((part) => part.textContent).join(" "));
    this.hello();
  }

  // The next pair comes by itself, unless the listener stays.
  goOnRow() {
    const row = make("div", "bt-row"), { words } = this;
    const left = make("span", "bt-left");
    left.setAttribute("aria-hidden", "true");
    row.append(this.button("bt-next bt-main", words.next, "Enter", () => this.next()));
    if (!this.goesOn || this.unheard === 1) return row; // which was this one
    row.append(this.button("bt-stay", words.stay, "S", () => this.stay()), left);
    this.countdown = new Countdown(
      left, words.counting, NEXT_S, () => this.visible, () => this.next());
    return row;
  }

  stay() {
    if (this.state !== "shown") return;
    this.countdown.stop();
    this.find(".bt-stay")?.remove();
    this.find(".bt-left")?.remove();
  }

  get listening() {
    return this.pair !== null && this.state !== "start";
  }

  // What a key does beside listening, or undefined.
  action(key) {
    if (this.state === "start") {
      const go = this.find(".bt-go");
      return ["enter", " "].includes(key) && !go.disabled ? () => this.next() : undefined;
    }
    const actions = { trial: {}, voted: {}, shown: {} };
    for (const { value, key: own } of CHOICES) actions.trial[own] = () => this.vote(value);
    actions.voted = { z: () => this.undo(), enter: () => this.settle(true) };
    actions.shown = { enter: () => this.next(), s: () => this.stay() };
    return actions[this.state]?.[key];
  }

  // Keys work wherever the focus is, but in a field, or where a control has the key as its own.
  key(event) {
    if (!this.visible || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const key = event.key.toLowerCase();
    const tab = event.target.closest("[role=tab]");
    const control = event.target.closest("button, a, summary") && !tab;
    if (control && ["enter", " "].includes(key)) return;
    if (tab && key.startsWith("arrow")) return;
    const act = this.action(key);
    const held = event.repeat && !key.startsWith("arrow");
    if (held) return void event.preventDefault();
    if (!act && !(this.listening && this.player.key(key))) return;
    event.preventDefault();
    act?.();
  }
}

if (typeof module !== "undefined") module.exports = { BlindTest, tallyText, crowdText };
