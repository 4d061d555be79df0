// Study: consent, checks of headphones and volume, then trials without a reveal; resumes by itself.
"use strict";

const ROUNDS = 6;
const ENOUGH = 5;
const TONE_S = 1.0;

// One round of the headphone test of Woods et al. (2017): three tones of 200 Hz, of which one is
// 6 dB quieter and another has its phase turned in one ear, so that loudspeakers cancel it.
function headphoneRound(random = Math.random) {
  const order = ["loud", "quiet", "turned"].sort(() => random() - 0.5);
  return { order, answer: order.indexOf("quiet") + 1 };
}

function toneBuffer(context, kind) {
  const rate = context.sampleRate;
  const buffer = context.createBuffer(2, Math.round(TONE_S * rate), rate);
  const level = kind === "quiet" ? 0.15 : 0.3;
  for (const channel of [0, 1]) {
    const data = buffer.getChannelData(channel);
    const sign = kind === "turned" && channel === 1 ? -1 : 1;
    for (let i = 0; i < data.length; i++) {
      const ramp = Math.min(1, i / (0.1 * rate), (data.length - i) / (0.1 * rate));
      data[i] = sign * level * ramp * Math.sin((2 * Math.PI * 200 * i) / rate);
    }
  }
  return buffer;
}

class StudyPage extends BlindTest {
  // A listener's name is kept apart for every study.
  get nameKey() {
    return `${LISTENER_KEY}-${this.config.name}`;
  }

  async hello() {
    this.find(".bt-next").textContent = "Next";
    this.find(".bt-next").disabled = true;
    this.panel = document.createElement("div");
    this.panel.className = "st-panel";
    this.find(".bt").prepend(this.panel);
    this.config = await this.ask("about", {});
    if (!this.config) return;
    const signed = localStorage.getItem(this.nameKey);
    const found = signed && (await this.ask("progress", { listener: signed }));
    if (found) return this.enter(signed, found);
    this.find(".bt-error").textContent = "";
    this.consent();
  }

  // Shows a step before the trials: a text and buttons, the first of which has the focus.
  step(text, ...buttons) {
    const words = document.createElement("div");
    words.className = "st-text";
    words.textContent = text;
    const row = document.createElement("div");
    row.className = "bt-choices";
    for (const [label, act] of buttons) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: label, onclick: act });
      row.append(button);
    }
    this.panel.replaceChildren(words, row);
    this.find(".bt").classList.toggle("st-before", !this.pair);
    row.querySelector("button")?.focus();
  }

  consent() {
    this.checks = {};
    this.step(this.config.consent, ["I agree and take part", () => this.headphones()]);
  }

  headphones() {
    if (this.config.headphones === "off") return this.volume();
    this.right = 0;
    const skip = ["I have no headphones", () => this.checked("skipped")];
    this.step(
      `Put on headphones. You hear three tones, ${ROUNDS} times; each time say which is the ` +
        "quietest (keys 1, 2, 3).",
      ["Start", () => this.round(1)],
      ...(this.config.headphones === "asked" ? [skip] : []),
    );
  }

  play(buffers) {
    this.context ??= new AudioContext();
    const made = buffers.map((make) => make(this.context));
    made.forEach((buffer, i) => {
      const source = this.context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.context.destination);
      source.start(this.context.currentTime + 0.1 + i * (TONE_S + 0.4));
    });
  }

  round(number) {
    const { order, answer } = headphoneRound();
    this.answer = answer;
    const choose = (chosen) => {
      this.right += chosen === answer;
      if (number < ROUNDS) return this.round(number + 1);
      this.checked(this.right >= ENOUGH ? "passed" : "failed");
    };
    this.step(
      `Round ${number} of ${ROUNDS}: which tone is the quietest?`,
      ...[1, 2, 3].map((n) => [String(n), () => choose(n)]),
      ["Play again", () => this.play(order.map((kind) => (c) => toneBuffer(c, kind)))],
    );
    this.play(order.map((kind) => (c) => toneBuffer(c, kind)));
  }

  checked(result) {
    this.checks.headphones = result;
    if (result !== "failed") return this.volume();
    const on = ["Go on without", () => this.volume()];
    this.step(
      "That does not sound like headphones.",
      ["Try again", () => this.headphones()],
      ...(this.config.headphones === "asked" ? [on] : []),
    );
  }

  volume() {
    const sound = (context) => toneBuffer(context, "quiet");
    this.step(
      "Play the tone and set your volume so that it is comfortable. Then leave it as it is.",
      ["Play the tone", () => this.play([sound])],
      ["The volume is right", () => this.join()],
    );
  }

  async join() {
    this.checks.volume = "set";
    const found = await this.ask("join", { checks: this.checks });
    if (!found) return;
    localStorage.setItem(this.nameKey, found.listener);
    this.enter(found.listener, found.progress);
  }

  enter(listener, progress) {
    this.listener = listener;
    this.count(progress);
    if (progress.code) return this.thank(progress.code);
    this.step(
      progress.done
        ? "Welcome back. You go on where you were."
        : "Two clips of one prompt: listen to both, then say which fits better. The first pair is " +
            "for practice. Keys: Space, 1, 2; A, B, T (alike), X (both bad); N (next).",
      [progress.done ? "Go on" : "Start", () => this.next()],
    );
  }

  count({ done, of }) {
    this.find(".bt-count").textContent = `${done} of ${of} answered`;
  }

  async next() {
    if (!this.listener || (this.pair && !this.voted)) return;
    const pair = await this.ask("next_trial", { listener: this.listener });
    if (!pair) return;
    this.panel.replaceChildren(pair.practice ? "For practice" : "");
    this.find(".bt-next").disabled = true;
    clearTimeout(this.timer);
    this.find(".bt").classList.remove("st-before");
    await this.present(pair);
  }

  countDown(seconds) {
    super.countDown(seconds);
    this.find(".bt-next").disabled = false;
    this.find(".bt-next").focus();
    this.afterVote();
  }

  async afterVote() {
    const found = await this.ask("progress", { listener: this.listener });
    if (!found) return;
    this.count(found);
    if (found.code) this.thank(found.code);
  }

  // Nothing is shown of the sides; the vote can no longer be undone.
  reveal() {
    this.find(".bt-undo")?.remove();
  }

  async undo() {
    this.find(".bt-next").disabled = true;
    this.panel.replaceChildren();
    await super.undo();
    this.afterVote();
  }

  thank(code) {
    this.find(".bt-next").disabled = true;
    this.step(`${this.config.thanks} ${code}`);
    this.panel.dataset.code = code;
  }

  key(event) {
    const number = ["1", "2", "3"].indexOf(event.key);
    const buttons = this.panel.querySelectorAll("button");
    if (number >= 0 && buttons.length === 4) return buttons[number].click();
    super.key(event);
  }
}

if (typeof module !== "undefined") module.exports = { StudyPage, headphoneRound };
