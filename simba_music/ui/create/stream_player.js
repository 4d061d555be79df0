// Stream player: sound that is still being generated, scheduled without gaps on one clock.
"use strict";

const LEAD_S = 0.15; // from scheduling to sound
const SAFE_S = 0.02; // what is due sooner than this would begin late
const FIRST_NEED_S = 0.25; // of sound before it begins; twice as much after every underrun
const MOST_NEED_S = 4;
const RAMP_S = 1; // from the stream's gain to that of the finished clip
const GESTURE_S = 0.5; // a browser that lets a page play says so within this time

// ---- Logic without a page or a sound card. ----

// The chunks of one clip, whenever they come, as one run of samples.
class SoundLine {
  constructor() {
    Object.assign(this, { samples: new Float32Array(0), length: 0, rate: 0, complete: false });
    Object.assign(this, { next: 0, waiting: new Map() });
  }

  // One that came before is left out; one that came early waits for those before it.
  add(message) {
    if (message.seq < this.next || this.waiting.has(message.seq)) return;
    this.waiting.set(message.seq, message);
    for (let found; (found = this.waiting.get(this.next)); this.next++) {
      this.waiting.delete(this.next);
      this.append(found);
    }
  }

  append({ pcm_b64, sample_rate, start_sample, last }) {
    const bytes = Uint8Array.from(atob(pcm_b64), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const end = start_sample + bytes.length / 2;
    if (end > this.samples.length) {
      const larger = new Float32Array(Math.max(end, 2 * this.samples.length));
      larger.set(this.samples);
      this.samples = larger;
    }
    for (let i = start_sample; i < end; i++)
      this.samples[i] = view.getInt16(2 * (i - start_sample), true) / 32767;
    Object.assign(this, { rate: sample_rate, length: end, complete: last });
  }

  get seconds() {
    return this.rate ? this.length / this.rate : 0;
  }
}

// When which samples of two clips sound. Both run along; only `active` is heard. `out` makes the
// sound: start(side, samples, rate, when), stop(when), select(side); `now` is its clock, in s.
class StreamSchedule {
  constructor(out, now) {
    Object.assign(this, { out, now, active: "A", wanted: false, offset: 0, startedAt: null });
    Object.assign(this, { need: FIRST_NEED_S, underruns: 0 });
    this.lines = { A: new SoundLine(), B: new SoundLine() };
    this.sent = { A: 0, B: 0 }; // samples of each that were scheduled
  }

  get line() {
    return this.lines[this.active];
  }

  get running() {
    return this.startedAt !== null;
  }

  get position() {
    return this.offset + (this.running ? Math.max(0, this.now() - this.startedAt) : 0);
  }

  get state() {
    if (!this.wanted) return "paused";
    return this.running ? "playing" : "buffering";
  }

  // The time of the clock at which `seconds` of the clips are heard.
  timeOf(seconds) {
    return this.startedAt + seconds - this.offset;
  }

  // Up to where the active clip was scheduled, in s, and when that will have been heard.
  get planned() {
    return this.sent[this.active] / (this.line.rate || 1);
  }

  get due() {
    return this.timeOf(this.planned);
  }

  add(side, message) {
    this.lines[side].add(message);
    this.update();
  }

  // No more chunks will come, whatever is missing.
  end() {
    for (const line of Object.values(this.lines)) line.complete = true;
    this.update();
  }

  play() {
    this.wanted = true;
    this.update();
  }

  pause() {
    this.hold(this.position, this.now());
    this.wanted = false;
  }

  seek(seconds) {
    this.hold(seconds, this.now());
    this.update();
  }

  select(side) {
    this.active = side;
    this.out.select(side);
    if (this.running && this.line.seconds <= this.position) this.hold(this.position, this.now());
    this.update();
  }

  // Stand still at a position; what sounds ends at `when`.
  hold(offset, when) {
    if (this.running) this.out.stop(when);
    this.offset = offset;
    this.startedAt = null;
  }

  // Looks at the clock; call it often, and whenever something has come.
  update() {
    if (this.running) {
      const whole = this.line.complete && this.sent[this.active] >= this.line.length;
      if (whole && this.now() >= this.due) return this.finish();
      if (!whole && this.due < this.now() + SAFE_S) {
        this.hold(this.planned, this.due);
        this.need = Math.min(2 * this.need, MOST_NEED_S);
        this.underruns += 1;
      }
    }
    if (this.wanted && !this.running) this.start();
    if (this.running) this.send();
  }

  start() {
    const ready = this.line.seconds - this.offset;
    if (ready <= 0 && this.line.complete) return this.finish();
    if (ready <= 0 || (ready < this.need && !this.line.complete)) return;
    const grid = (seconds) => Math.round(seconds * this.line.rate) / this.line.rate;
    this.offset = grid(this.offset);
    this.startedAt = grid(this.now() + LEAD_S);
    for (const [side, line] of Object.entries(this.lines))
      this.sent[side] = Math.round(this.offset * (line.rate || this.line.rate));
  }

  finish() {
    this.hold(0, this.now());
    this.wanted = false;
  }

  send() {
    for (const [side, line] of Object.entries(this.lines)) {
      if (line.length <= this.sent[side]) continue;
      // Only the clip that is not heard can be late; it is joined where it should be by now.
      const late = this.now() + SAFE_S - this.timeOf(this.sent[side] / line.rate);
      const from = this.sent[side] + Math.max(0, Math.ceil(late * line.rate));
      this.sent[side] = line.length;
      if (from >= line.length) continue;
      const part = line.samples.subarray(from, line.length);
      this.out.start(side, part, line.rate, this.timeOf(from / line.rate));
    }
  }
}

// ---- Sound. ----

class WebAudioOut {
  constructor(context, output = context.destination) {
    Object.assign(this, { context, output, active: "A", sources: new Set(), gains: {} });
    this.bus = new GainNode(context);
    this.bus.connect(output);
    for (const side of ["A", "B"]) {
      this.gains[side] = new GainNode(context, { gain: side === this.active ? 1 : 0 });
      this.gains[side].connect(this.bus);
    }
  }

  start(side, samples, rate, when) {
    const format = { length: samples.length, numberOfChannels: 1, sampleRate: rate };
    const buffer = new AudioBuffer(format);
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.gains[side]);
    source.onended = () => this.sources.delete(source);
    source.start(when);
    this.sources.add(source);
  }

  stop(when) {
    for (const source of this.sources) source.stop(when);
    this.sources.clear();
  }

  select(side) {
    crossfade(this, side, this.context.currentTime);
  }
}

// One gain into another over `RAMP_S`; both play the same samples, so that their sum has no dip.
function handOver(from, to, when) {
  for (const [gain, first, last] of [[from.gain, 1, 0], [to.gain, 0, 1]]) {
    gain.setValueAtTime(first, when);
    gain.linearRampToValueAtTime(last, when + RAMP_S);
  }
}

// ---- The player on a page: an ABPlayer whose clips are still on their way. ----

class StreamPlayer extends ABPlayer {
  constructor(root, names, context, seconds) {
    super(root, names);
    this.context = context;
    this.out = new WebAudioOut(context, this.output());
    this.live = new StreamSchedule(this.out, () => context.currentTime);
    this.duration = seconds;
    const samplesOf = ({ samples, rate }) => {
      const whole = new Float32Array(Math.max(1, Math.round(seconds * rate)));
      whole.set(samples.subarray(0, whole.length));
      return whole;
    };
    const drawn = (side) => ({ getChannelData: () => samplesOf(this.live.lines[side]) });
    this.buffers = { A: drawn("A"), B: drawn("B") };
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.drawRuler();
    this.show();
  }

  // Begins to play, if the visitor's press of a button lets this page do so.
  async playSoon() {
    const live = this.live;
    const refused = new Promise((done) => setTimeout(() => done(true), 1000 * GESTURE_S));
    if (!(await Promise.race([this.context.resume(), refused])) && live === this.live) live?.play();
  }

  add(side, message) {
    if (!this.live) return;
    this.live.add(side, message);
    this.peaks = null;
    this.show();
  }

  // No more sound is coming but the finished clips.
  end() {
    this.live?.end();
    this.show();
  }

  // Another run takes the place of this one.
  close() {
    this.closed = true;
    this.stop();
    clearInterval(this.timer);
  }

  get playing() {
    return this.live ? this.live.wanted : super.playing;
  }

  get position() {
    return this.live ? Math.min(this.live.position, this.duration) : super.position;
  }

  async play() {
    if (!this.live) return super.play();
    await this.context.resume();
    this.live?.play();
    this.show();
  }

  stop() {
    this.fading?.stop(this.context.currentTime);
    this.fading = null;
    if (!this.live) return super.stop();
    this.live.pause();
    this.show();
  }

  select(side, byHand = true) {
    this.fading?.select(side);
    if (!this.live) return super.select(side, byHand);
    if (byHand && side !== this.active) this.switches += 1;
    this.notedAt = null;
    this.active = side;
    this.live.select(side);
    this.say(filled(this.words.heard, { name: this.names[side] }));
    this.show();
  }

  seek(seconds) {
    if (!this.live) return super.seek(seconds);
    this.live.seek(Math.min(Math.max(0, seconds), this.live.line.seconds));
    this.show();
  }

  toggleLoop(region = null) {
    if (!this.live) super.toggleLoop(region);
    else if (region) this.seek(region[0]);
  }

  tick() {
    if (!this.live) return super.tick();
    const before = this.live.state;
    this.live.update();
    this.noteLive();
    const waits = this.live.state === "buffering";
    if (this.live.state !== before && waits) this.say(this.words.buffering);
    if (this.playing || this.live.state !== before) this.show();
  }

  // Keep what was heard since the last look, while it is still being generated.
  noteLive() {
    const at = this.live.running ? this.live.position : null;
    const from = this.notedAt;
    this.notedAt = at;
    if (from === null || from === undefined || at === null || at < from || at > from + 1) return;
    this.heard[this.active] = addStretch(this.heard[this.active], from, at);
    this.changed();
  }

  show() {
    super.show();
    if (!this.live) return;
    const { lines } = this.live;
    for (const button of this.root.querySelectorAll(".ab-side"))
      button.disabled = lines[button.dataset.side].length === 0;
    this.root.querySelector(".ab-play").disabled = lines.A.length + lines.B.length === 0;
  }

  // The finished clips take over where the stream is, without a gap.
  async load(clips) {
    const buffers = await this.decode(clips);
    if (this.closed) return;
    if (!this.live) return this.install(buffers, this.active);
    this.live.update();
    const { live, out, context, heard, switches } = this;
    const when = live.running ? live.timeOf(live.position) + LEAD_S : 0;
    const at = live.running ? live.position + LEAD_S : live.position;
    clearInterval(this.timer);
    this.live = null;
    this.install(buffers, live.active);
    Object.assign(this, { heard, switches });
    this.offset = Math.min(at, this.duration);
    if (!live.running || at >= this.duration) {
      if (live.wanted && at < this.duration) this.play();
      return this.show();
    }
    const bus = new GainNode(context);
    bus.connect(this.output());
    handOver(out.bus, bus, when);
    out.stop(when + RAMP_S);
    this.fading = out;
    this.run(buildGraph(context, buffers, live.active, when, at, null, bus), when);
  }
}
