// Study: consent, checks of headphones and volume, then trials without a reveal; resumes by itself.
"use strict";

const ROUNDS = 6;
const ENOUGH = 5;
const TONE_S = 1.0;

// One round of the headphone test of Woods et al. (2017): three tones of 200 Hz, of which one is
// 6 dB quieter and another has its phase turned in one ear, so that loudspeakers cancel it.
function headphoneRound(random = Math.random) {
  const order = [];
  for (const kind of ["loud", "quiet", "turned"])
    order.splice(Math.floor(random() * (order.length + 1)), 0, kind);
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
    this.panel = make("div", "st-panel");
    this.find(".bt").prepend(this.panel);
    this.find(".bt-place").after(make("progress", "st-progress"));
    this.find(".st-progress").setAttribute("aria-hidden", "true"); // the line above says it
    this.enterState("before");
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
    const row = make("div", "bt-row");
    buttons.forEach(([label, act], i) => {
      const button = make("button", i ? "" : "bt-main", label);
      row.append(Object.assign(button, { type: "button", onclick: act }));
    });
    this.panel.replaceChildren(make("div", "st-text", text), row);
    row.querySelector("button")?.focus();
  }

  consent() {
    this.checks = {};
    this.step(this.config.consent, [this.words.study.agree, () => this.headphones()]);
    this.panel.append(make("p", "bt-note", this.config.kept));
  }

  headphones() {
    if (this.config.headphones === "off") return this.volume();
    this.right = 0;
    const { study } = this.words;
    const skip = [study.no_headphones, () => this.checked("skipped")];
    this.step(
      filled(study.headphones, { n: ROUNDS }),
      [study.start, () => this.round(1)],
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
    const { order, answer } = headphoneRound(), { study } = this.words;
    this.answer = answer;
    const choose = (chosen) => {
      this.right += chosen === answer;
      if (number < ROUNDS) return this.round(number + 1);
      this.checked(this.right >= ENOUGH ? "passed" : "failed");
    };
    this.step(
      filled(study.round, { n: number, of: ROUNDS }),
      ...[1, 2, 3].map((n) => [String(n), () => choose(n)]),
      [study.play_again, () => this.play(order.map((kind) => (c) => toneBuffer(c, kind)))],
    );
    this.play(order.map((kind) => (c) => toneBuffer(c, kind)));
  }

  checked(result) {
    this.checks.headphones = result;
    if (result !== "failed") return this.volume();
    const { study } = this.words, on = [study.go_without, () => this.volume()];
    this.step(
      study.failed,
      [study.try_again, () => this.headphones()],
      ...(this.config.headphones === "asked" ? [on] : []),
    );
  }

  // A volume is set by who has heard the tone; who goes on without it has skipped the step.
  volume() {
    const { study } = this.words;
    this.checks.volume = "skipped";
    const play = () => {
      this.play([(context) => toneBuffer(context, "quiet")]);
      this.checks.volume = "set";
    };
    this.step(
      study.volume,
      [study.play_tone, play],
      [study.volume_set, () => this.join()],
    );
  }

  async join() {
    const found = await this.ask("join", { checks: this.checks });
    if (!found) return;
    localStorage.setItem(this.nameKey, found.listener);
    this.enter(found.listener, found.progress);
  }

  enter(listener, progress) {
    this.listener = listener;
    if (progress.code) return this.thank(progress.code);
    if (progress.given > progress.of) return this.waitForEnd();
    const { study } = this.words;
    this.step(
      progress.given ? study.welcome_back : study.welcome,
      [progress.given ? study.go_on : study.start, () => this.next()],
    );
  }

  next() {
    return this.once(async () => {
      const pair = await this.ask("next_trial", { listener: this.listener });
      if (!pair) return;
      this.panel.replaceChildren();
      const bar = this.find(".st-progress");
      Object.assign(bar, { max: pair.of, value: Math.max(0, pair.number - 1) });
      await this.present(pair);
    });
  }

  placeText() {
    const { practice, number, of } = this.pair;
    const { study } = this.words;
    return practice ? study.practice : filled(study.pair, { n: number, of });
  }

  onText() {
    return this.pair.last ? this.words.study.finish : this.words.study.next;
  }

  waitText() {
    return this.pair.practice ? this.words.study.practised : "";
  }

  // The answer is final; nothing is told of the sides.
  settle() {
    if (this.state !== "voted") return;
    this.countdown.stop();
    return this.pair.last ? this.once(() => this.finish()) : this.next();
  }

  async finish() {
    const found = await this.ask("finish", { listener: this.listener, ticket: this.pair.ticket });
    if (!found) return;
    if (found.code) this.thank(found.code);
    else this.waitForEnd();
  }

  // All is answered, and the last answers can still be taken back elsewhere.
  waitForEnd() {
    this.enterState("before");
    this.step(this.words.study.ending);
    setTimeout(async () => {
      const found = await this.ask("progress", { listener: this.listener });
      if (found) this.enter(this.listener, found);
    }, 2000);
  }

  // The end: nothing else is left on the page.
  thank(code) {
    this.player.stop();
    this.enterState("over");
    this.find(".bt-trial").hidden = true;
    this.step(this.config.thanks);
    const { study } = this.words, { thanks } = this.config;
    this.panel.append(make("p", "st-code", code), make("p", "bt-note", study.close));
    this.panel.dataset.code = code;
    this.focus();
    this.say(filled(study.thanks, { thanks, code: code.split("").join(" ") }));
  }

  action(key) {
    const number = ["1", "2", "3"].indexOf(key);
    const buttons = this.panel.querySelectorAll("button");
    if (number >= 0 && buttons.length === 4) return () => buttons[number].click();
    if (key === "enter" && buttons.length) return () => buttons[0].click();
    if (key === "n" && this.state === "voted") return () => this.settle();
    return super.action(key);
  }

  get listening() {
    return ["trial", "voted"].includes(this.state);
  }
}

if (typeof module !== "undefined") module.exports = { StudyPage, headphoneRound };
