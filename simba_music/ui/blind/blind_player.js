// Blind player: the A/B player of a pair without names, which draws of each clip what was heard.
"use strict";

const BAR_PX = 6;

// Which of `count` equal parts of a clip of `duration` s lie wholly within the stretches heard.
function partsHeard(stretches, duration, count) {
  const edge = 1e-6 * duration;
  return Array.from({ length: count }, (_, i) => {
    const [from, to] = [(i * duration) / count, ((i + 1) * duration) / count];
    return stretches.some(([start, end]) => start <= from + edge && end >= to - edge);
  });
}

class BlindPlayer extends ABPlayer {
  draw() {
    const { words } = this;
    const row = (side, key) => `
      <button type="button" class="bp-side" data-side="${side}" aria-pressed="false"
        aria-keyshortcuts="${key} ${side}" disabled><b>${side}</b>
        <span class="bp-name">${escaped(words.listen)}</span>
        <kbd aria-hidden="true">${key}</kbd></button>
      <div class="bp-track">
        <canvas class="bp-wave" data-side="${side}" aria-hidden="true"></canvas>
        <div class="bp-need" data-side="${side}"></div>
      </div>`;
    this.root.innerHTML = `
      <div class="bp" role="group" aria-label="${escaped(words.player)}">
        <div class="bp-rows">${row("A", 1)}${row("B", 2)}</div>
        <div class="bp-controls">
          <button type="button" class="bp-play" aria-keyshortcuts="Space" disabled></button>
          <span class="bp-time"></span>
        </div>
        <div class="bp-say" aria-live="polite"></div>
      </div>`;
    this.open = false; // whether all of both clips is drawn
    this.find(".bp-play").textContent = words.play;
    this.find(".bp-play").onclick = () => this.toggle();
    for (const button of this.root.querySelectorAll(".bp-side"))
      button.onclick = () => this.listen(button.dataset.side);
    for (const canvas of this.root.querySelectorAll("canvas")) this.listenTo(canvas);
    new ResizeObserver(() => this.paint()).observe(this.find(".bp"));
  }

  find(name) {
    return this.root.querySelector(name);
  }

  install(buffers, first) {
    this.open = false;
    this.name({ A: this.words.listen, B: this.words.listen });
    for (const canvas of this.root.querySelectorAll("canvas")) delete canvas.dataset.model;
    super.install(buffers, first);
  }

  drawRuler() {}

  // Plays a side, from where the other was.
  listen(side) {
    this.select(side);
    this.play();
  }

  name(names) {
    for (const [side, text] of Object.entries(names))
      this.find(`.bp-side[data-side=${side}] .bp-name`).textContent = text;
  }

  // After the vote: names, all of both clips, and the colours of their models.
  reveal(names, models) {
    this.open = true;
    this.name(names);
    for (const canvas of this.root.querySelectorAll("canvas"))
      canvas.dataset.model = models[canvas.dataset.side];
    this.paint();
  }

  // What is still to be heard of each side before the vote opens, in s.
  need(missing) {
    for (const [side, seconds] of Object.entries(missing))
      this.find(`.bp-need[data-side=${side}]`).textContent =
        seconds > 0 ? filled(this.words.needed, { n: Math.ceil(seconds) }) : "";
  }

  // Keys that listen; whether the key was one.
  key(name) {
    const actions = {
      " ": () => this.toggle(),
      1: () => this.listen("A"),
      2: () => this.listen("B"),
      a: () => this.listen("A"),
      b: () => this.listen("B"),
      arrowleft: () => this.seek(this.position - STEP_S),
      arrowright: () => this.seek(this.position + STEP_S),
      l: () => this.toggleLoop(),
    };
    if (!actions[name] || !this.buffers) return false;
    actions[name]();
    return true;
  }

  say(text) {
    this.find(".bp-say").textContent = text;
  }

  show() {
    const time = `${clockOf(this.position)} / ${clockOf(this.duration)}`;
    this.find(".bp-play").textContent = this.playing ? this.words.pause : this.words.play;
    this.find(".bp-time").textContent = this.loop ? time : filled(this.words.once, { time });
    for (const button of this.root.querySelectorAll(".bp-side"))
      button.setAttribute("aria-pressed", String(button.dataset.side === this.active));
    this.paint();
  }

  // Loudness and endings would tell of a clip before it was heard: what was not is a flat line.
  paint() {
    if (!this.buffers) return;
    for (const canvas of this.root.querySelectorAll("canvas")) {
      const scale = window.devicePixelRatio || 1;
      const [wide, high] = [canvas.clientWidth || 1, canvas.clientHeight || 1];
      Object.assign(canvas, { width: wide * scale, height: high * scale });
      const bars = Math.max(1, Math.floor(wide / BAR_PX));
      const { side } = canvas.dataset;
      if (this.peaks?.bars !== bars) this.peaks = { bars };
      this.peaks[side] ??= peaksOf(this.buffers[side].getChannelData(0), bars);
      const heard = this.open ? [[0, this.duration]] : this.heard[side];
      this.drawBars(canvas, scale, wide / bars, high, side, partsHeard(heard, this.duration, bars));
    }
  }

  drawBars(canvas, scale, pitch, high, side, known) {
    const ink = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const x = (seconds) => (seconds / this.duration) * pitch * known.length;
    ink.scale(scale, scale);
    if (this.loop && (this.loop[0] > 0 || this.loop[1] < this.duration)) {
      ink.fillStyle = style.getPropertyValue("--bp-loop");
      ink.fillRect(x(this.loop[0]), 0, x(this.loop[1] - this.loop[0]), high);
    }
    ink.fillStyle = style.color;
    known.forEach((drawn, i) => {
      const [low, top] = drawn ? this.peaks[side][i] : [0, 0];
      const tall = Math.max(3, Math.max(top, -low) * high);
      ink.globalAlpha = drawn ? (side === this.active ? 1 : 0.5) : 0.3;
      ink.beginPath();
      ink.roundRect(i * pitch, (high - tall) / 2, 0.6 * pitch, tall, 2);
      ink.fill();
    });
    ink.globalAlpha = 1;
    ink.fillStyle = style.getPropertyValue("--bp-head");
    ink.fillRect(x(this.position), 0, 2, high);
  }
}

if (typeof module !== "undefined") module.exports = { BlindPlayer, partsHeard };
