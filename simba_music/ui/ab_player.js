// A/B player: two clips on one clock, switched by a short crossfade at the same position.
"use strict";

const FADE_S = 0.01;
const FADE_POINTS = 33;
const TICK_MS = 60;
const STEP_S = 2;

// ---- Logic without a page: tested with node. ----

// A stretch [start, end] in s, merged into a sorted list of stretches that do not touch.
function addStretch(list, start, end) {
  if (!(end > start)) return list;
  const before = list.filter(([, e]) => e < start);
  const after = list.filter(([s]) => s > end);
  const touching = list.filter(([s, e]) => e >= start && s <= end);
  const low = Math.min(start, ...touching.map(([s]) => s));
  const high = Math.max(end, ...touching.map(([, e]) => e));
  return [...before, [low, high], ...after];
}

function secondsOf(list) {
  return list.reduce((sum, [start, end]) => sum + end - start, 0);
}

// What was heard from position `from` in `elapsed` s, as stretches; a loop [start, end] wraps.
function stretchesSince(from, elapsed, duration, loop) {
  const end = loop && from < loop[1] ? loop[1] : duration;
  if (from + elapsed <= end) return [[from, from + elapsed]];
  if (!loop || from >= loop[1]) return [[from, end]];
  const left = from + elapsed - end;
  const length = loop[1] - loop[0];
  if (left >= length) return [[from, end], [loop[0], loop[1]]];
  return [[from, end], [loop[0], loop[0] + left]];
}

// Position in s after `elapsed` s of playing from `from`.
function positionAfter(from, elapsed, duration, loop) {
  const end = loop && from < loop[1] ? loop[1] : duration;
  if (from + elapsed <= end) return from + elapsed;
  if (!loop || from >= loop[1]) return duration;
  return loop[0] + ((from + elapsed - end) % (loop[1] - loop[0]));
}

// Equal-power gains: their squares sum to 1 at every point of the fade.
function fadeCurves(points) {
  const turn = (i) => (i / (points - 1)) * (Math.PI / 2);
  const rising = Float32Array.from({ length: points }, (_, i) => Math.sin(turn(i)));
  return { rising, falling: rising.slice().reverse() };
}

// Largest and smallest sample of each of `width` columns.
function peaksOf(samples, width) {
  return Array.from({ length: width }, (_, x) => {
    const from = Math.floor((x * samples.length) / width);
    const to = Math.max(from + 1, Math.floor(((x + 1) * samples.length) / width));
    let low = 1, high = -1;
    for (let i = from; i < to && i < samples.length; i++) {
      low = Math.min(low, samples[i]);
      high = Math.max(high, samples[i]);
    }
    return [low, high];
  });
}

function clockOf(seconds) {
  return `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
}

// ---- Sound: the same graph plays live and renders offline. ----

function buildGraph(
  context, buffers, active, when, offset, loop, output = context.destination) {
  const graph = { context, sources: {}, gains: {}, active };
  for (const [side, buffer] of Object.entries(buffers)) {
    const source = new AudioBufferSourceNode(context, { buffer });
    const gain = new GainNode(context, { gain: side === active ? 1 : 0 });
    if (loop) Object.assign(source, { loop: true, loopStart: loop[0], loopEnd: loop[1] });
    source.connect(gain).connect(output);
    source.start(when, offset);
    graph.sources[side] = source;
    graph.gains[side] = gain;
  }
  return graph;
}

function crossfade(graph, side, when) {
  if (side === graph.active) return;
  const { rising, falling } = fadeCurves(FADE_POINTS);
  for (const [name, curve] of [[graph.active, falling], [side, rising]]) {
    const gain = graph.gains[name].gain;
    gain.cancelScheduledValues(when);
    gain.setValueCurveAtTime(curve, when, FADE_S);
  }
  graph.active = side;
}

// Calls `changed` with the attribute data-`name` of what a part of the page holds, "" if nothing,
// whenever it changes.
function watchData(selector, name, changed) {
  const part = document.querySelector(selector);
  if (!part) return void setTimeout(() => watchData(selector, name, changed), 50);
  let last = "";
  const look = () => {
    const found = part.querySelector(`[data-${name}]`)?.dataset[name] ?? "";
    if (found === last) return;
    last = found;
    changed(found);
  };
  new MutationObserver(look).observe(part, { subtree: true, childList: true, attributes: true });
  look();
}

// ---- The player on a page; what extends it draws it, and shows whether it plays. ----

class ABPlayer {
  // `names` maps A and B to what is shown; `changed` is called whenever more was heard; `words`
  // are those of the page.
  constructor(root, names, changed = () => {}, words = {}) {
    Object.assign(this, { root, names, changed, words });
    Object.assign(this, { active: "A", offset: 0, loop: null, switches: 0 });
    this.heard = { A: [], B: [] };
    this.buffers = null;
    this.graph = null;
    this.draw();
  }

  // Clips are WAV files, as base64 or as an ArrayBuffer.
  async load(clips) {
    this.stop();
    this.install(await this.decode(clips), clips.first ?? "A");
  }

  async decode(clips) {
    this.context ??= new AudioContext();
    const decode = (clip) => {
      const data = typeof clip === "string"
        ? Uint8Array.from(atob(clip), (c) => c.charCodeAt(0)).buffer : clip;
      return this.context.decodeAudioData(data);
    };
    const [A, B] = await Promise.all([decode(clips.A), decode(clips.B)]);
    return { A, B };
  }

  install(buffers, first) {
    this.buffers = buffers;
    this.duration = Math.min(buffers.A.duration, buffers.B.duration);
    Object.assign(this, { offset: 0, loop: null, switches: 0, heard: { A: [], B: [] } });
    this.peaks = null;
    for (const button of this.root.querySelectorAll("button")) button.disabled = false;
    this.drawRuler();
    this.select(first, false);
  }

  drawRuler() {
    const step = [1, 2, 5, 10].find((s) => this.duration / s <= 10) ?? 30;
    const marks = [];
    for (let s = 0; s < this.duration; s += step)
      marks.push(`<span style="left:${(100 * s) / this.duration}%">${s}</span>`);
    this.root.querySelector(".ab-ruler").innerHTML = marks.join("");
  }

  get playing() {
    return this.graph !== null;
  }

  get position() {
    if (!this.playing) return this.offset;
    const elapsed = Math.max(0, this.context.currentTime - this.startedAt);
    return positionAfter(this.offset, elapsed, this.duration, this.loop);
  }

  async play() {
    if (!this.buffers || this.playing) return;
    await this.context.resume(); // browsers wait for a gesture
    if (this.offset >= this.duration - 0.01) this.offset = 0;
    const when = this.context.currentTime + 0.02;
    const graph = buildGraph(
      this.context, this.buffers, this.active, when, this.offset, this.loop, this.output());
    this.run(graph, when);
  }

  // Where the sound goes.
  output() {
    return this.context.destination;
  }

  run(graph, when) {
    Object.assign(this, { graph, startedAt: when, noted: 0 });
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.show();
  }

  stop() {
    if (!this.playing) return;
    this.note();
    this.offset = this.position;
    for (const source of Object.values(this.graph.sources)) source.stop();
    this.graph = null;
    clearInterval(this.timer);
    this.show();
  }

  toggle() {
    this.playing ? this.stop() : this.play();
  }

  tick() {
    this.note();
    if (!this.loop && this.position >= this.duration) {
      this.stop();
      this.offset = 0;
    }
    this.show();
  }

  // Keep what was heard since the last time.
  note() {
    const elapsed = Math.max(0, this.context.currentTime - this.startedAt);
    const from = positionAfter(this.offset, this.noted, this.duration, this.loop);
    const list = stretchesSince(from, elapsed - this.noted, this.duration, this.loop);
    for (const [start, end] of list)
      this.heard[this.active] = addStretch(this.heard[this.active], start, end);
    this.noted = elapsed;
    this.changed();
  }

  select(side, byHand = true) {
    if (!this.buffers) return;
    if (this.playing) {
      this.note();
      crossfade(this.graph, side, this.context.currentTime);
    }
    if (byHand && side !== this.active) this.switches += 1;
    this.active = side;
    if (byHand) this.say(filled(this.words.heard, { name: this.names[side] }));
    this.show();
  }

  seek(seconds) {
    if (!this.buffers) return;
    const again = this.playing;
    this.stop();
    this.offset = Math.min(Math.max(0, seconds), this.duration);
    if (again) this.play();
    this.show();
  }

  toggleLoop(region = null) {
    if (!this.buffers) return;
    const again = this.playing;
    this.stop();
    this.loop = region ?? (this.loop ? null : [0, this.duration]);
    if (region) this.offset = region[0];
    const [start, end] = (this.loop ?? []).map(clockOf);
    this.say(this.loop ? filled(this.words.loop_from, { start, end }) : this.words.no_loop);
    if (again) this.play();
    this.show();
  }

  listenTo(canvas) {
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return Math.min(Math.max(0, (event.clientX - box.left) / box.width), 1) * this.duration;
    };
    canvas.onpointerdown = (event) => {
      if (!this.buffers) return;
      canvas.setPointerCapture(event.pointerId);
      this.dragFrom = at(event);
    };
    canvas.onpointerup = (event) => {
      if (!this.buffers || this.dragFrom === undefined) return;
      const [low, high] = [this.dragFrom, at(event)].sort((a, b) => a - b);
      this.dragFrom = undefined;
      if (high - low >= 0.3) this.toggleLoop([low, high]);
      else this.seek(high);
    };
  }

  key(event) {
    if (["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName)) return;
    const actions = {
      " ": () => this.toggle(),
      1: () => this.select("A"),
      2: () => this.select("B"),
      ArrowLeft: () => this.seek(this.position - STEP_S),
      ArrowRight: () => this.seek(this.position + STEP_S),
      l: () => this.toggleLoop(),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  }

  say(text) {
    this.root.querySelector(".ab-say").textContent = text;
  }

  show() {
    this.showPlay();
    this.root.querySelector(".ab-loop").setAttribute("aria-pressed", String(!!this.loop));
    this.root.querySelector(".ab-time").textContent = this.timeText();
    for (const button of this.root.querySelectorAll(".ab-side"))
      button.setAttribute("aria-pressed", String(button.dataset.side === this.active));
    this.paint();
  }

  timeText() {
    return clockOf(this.position);
  }

  paint() {
    if (!this.buffers) return;
    for (const canvas of this.root.querySelectorAll("canvas")) {
      const width = (canvas.width = canvas.clientWidth || 1);
      const height = (canvas.height = canvas.clientHeight || 1);
      const side = canvas.dataset.side;
      if (this.peaks?.width !== width) this.peaks = { width };
      this.peaks[side] ??= peaksOf(this.buffers[side].getChannelData(0), width);
      const ink = canvas.getContext("2d");
      const style = getComputedStyle(canvas);
      const x = (seconds) => (seconds / this.duration) * width;
      if (this.loop) {
        ink.fillStyle = style.getPropertyValue("--ab-loop");
        ink.fillRect(x(this.loop[0]), 0, x(this.loop[1] - this.loop[0]), height);
      }
      ink.fillStyle = style.color;
      ink.globalAlpha = side === this.active ? 1 : 0.4;
      this.peaks[side].forEach(([low, high], i) => {
        const top = ((1 - high) / 2) * height;
        ink.fillRect(i, top, 1, Math.max(1, ((high - low) / 2) * height));
      });
      ink.globalAlpha = 1;
      ink.fillStyle = style.getPropertyValue("--ab-head");
      ink.fillRect(x(this.position), 0, 2, height);
    }
  }
}

if (typeof module !== "undefined")
  module.exports = {
    addStretch, secondsOf, stretchesSince, positionAfter, fadeCurves, peaksOf, clockOf,
    buildGraph, crossfade, ABPlayer, FADE_S,
  };
