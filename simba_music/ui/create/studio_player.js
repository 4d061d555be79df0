// Studio player: the A/B player in the rows of the page, its waves drawn as bars as they come.
"use strict";

const BAR_PX = 6, BAR_WIDTH_PX = 3.6, NARROW_BAR_PX = 4;

const shortClock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// How loud each of `count` parts of a clip is, 0 to 1; parts that are not there yet are 0.
function barsOf(samples, count) {
  const size = samples.length / count;
  return Array.from({ length: count }, (_, i) => {
    let most = 0;
    // Every eighth sample shows the shape of a wave as well as all of them.
    for (let j = Math.floor(i * size); j < (i + 1) * size; j += 8)
      most = Math.max(most, Math.abs(samples[j] ?? 0));
    return Math.min(1, most);
  });
}

// A player that takes the rows of the page as they are. `page` says its words and icons, and holds
// the volume, which outlives a player.
const inRows = (Base) => class extends Base {
  draw() {
    this.page = this.root.page;
    this.words = this.page.words;
    const find = (name) => this.root.querySelector(name);
    for (const button of this.root.querySelectorAll("button")) button.disabled = true;
    find(".ab-play").onclick = () => this.toggle();
    find(".ab-loop").onclick = () => this.toggleLoop();
    for (const button of this.root.querySelectorAll(".ab-side"))
      button.onclick = () => this.select(button.dataset.side);
    for (const canvas of this.root.querySelectorAll("canvas")) this.listenTo(canvas);
    this.observer = new ResizeObserver(() => this.paint());
    this.observer.observe(find(".ab"));
  }

  // Another takes its place.
  leave() {
    this.closed = true;
    this.stop();
    clearInterval(this.timer);
    this.observer.disconnect();
  }

  output() {
    return this.page.volumeOf(this.context);
  }

  async toggle() {
    // Some browsers let sound begin only within the press itself.
    this.context?.resume();
    super.toggle();
  }

  showPlay() {
    const { words, page: { icons } } = this, button = this.root.querySelector(".ab-play");
    const name = this.playing ? "pause" : "play";
    if (button.dataset.shows === name) return;
    button.dataset.shows = name;
    button.innerHTML = icons[name];
    button.ariaLabel = words[name];
  }

  timeText() {
    return `${shortClock(this.position)} / ${shortClock(Math.round(this.duration ?? 0))}`;
  }

  say(text) {
    this.root.querySelector(".ab-say[aria-live]").textContent = text;
  }

  show() {
    if (this.closed) return;
    super.show();
    for (const row of this.root.querySelectorAll(".st-row"))
      row.classList.toggle("st-heard", row.dataset.side === this.active);
  }

  paint() {
    if (this.closed || !this.buffers) return;
    for (const canvas of this.root.querySelectorAll("canvas")) this.paintWave(canvas);
  }

  paintWave(canvas) {
    const { clientWidth: width, clientHeight: height } = canvas, side = canvas.dataset.side;
    if (!width) return;
    const scale = window.devicePixelRatio || 1, ink = canvas.getContext("2d");
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    ink.setTransform(scale, 0, 0, scale, 0, 0);
    ink.clearRect(0, 0, width, height);
    const every = width < 400 ? NARROW_BAR_PX : BAR_PX, count = Math.floor(width / every);
    if (this.peaks?.count !== count) this.peaks = { count };
    this.peaks[side] ??= barsOf(this.buffers[side].getChannelData(0), count);
    const style = getComputedStyle(canvas), at = (this.position / this.duration) * width;
    const x = (seconds) => (seconds / this.duration) * width;
    if (this.loop) {
      ink.fillStyle = style.getPropertyValue("--ab-loop");
      ink.fillRect(x(this.loop[0]), 0, x(this.loop[1] - this.loop[0]), height);
    }
    ink.fillStyle = style.color;
    const size = (BAR_WIDTH_PX / BAR_PX) * every;
    this.peaks[side].forEach((loud, i) => {
      const tall = Math.max(3, Math.sqrt(loud) * loud ** 0.25 * (height - 6));
      ink.globalAlpha = side === this.active ? (i * every < at ? 1 : 0.62) : 0.34;
      ink.beginPath();
      ink.roundRect(i * every, (height - tall) / 2, size, tall, size / 2);
      ink.fill();
    });
    ink.globalAlpha = 1;
    ink.fillStyle = style.getPropertyValue("--ab-head");
    ink.fillRect(Math.min(width - 2, Math.max(0, at - 1)), 0, 2, height);
  }
};

class PairInRows extends inRows(ABPlayer) {
  // WAV files as ArrayBuffers, of takes that may be of other lengths; goes on where it was.
  async load(clips) {
    const buffers = await this.decode(clips);
    if (this.closed) return;
    this.install(buffers, this.active);
  }
}

class StreamInRows extends inRows(StreamPlayer) {
  show() {
    super.show();
    if (this.live && !this.closed) this.root.querySelector(".ab-loop").disabled = true;
  }

  // Another take in place of one that is finished.
  async change(clips) {
    const { position, playing, active } = this;
    this.stop();
    const buffers = await this.decode(clips);
    if (this.closed || this.live) return;
    const { heard, switches } = this;
    this.install(buffers, active);
    Object.assign(this, { heard, switches, offset: Math.min(position, this.duration) });
    if (playing) this.play();
    this.show();
  }
}
