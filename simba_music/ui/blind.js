// Blind test: shows a pair in the player, opens the vote once both were heard, then reveals.
"use strict";

const LISTENER_KEY = "simba-music-listener";
const DIMENSIONS = ["prompt fit", "melody", "harmony", "rhythm", "sound quality"];
const CHOICES = [["A", "A is better"], ["B", "B is better"], ["TIE", "Alike"], ["BOTH_BAD", "Both bad"]];

class BlindTest {
  constructor(root, server) {
    Object.assign(this, { root, server, pair: null, voted: false });
    root.innerHTML = `
      <div class="bt" tabindex="-1">
        <div class="bt-start">
          <button type="button" class="bt-next">Next pair from the gallery</button>
          <span class="bt-count"></span>
        </div>
        <p class="bt-prompt"></p>
        <div class="bt-player"></div>
        <div class="bt-vote" hidden>
          <div class="bt-heard" aria-live="polite"></div>
          <div class="bt-choices" role="group" aria-label="Which fits the prompt better?"></div>
          <details><summary>Ratings and a remark (optional)</summary>
            <table class="bt-ratings"></table>
            <label>Remark <textarea maxlength="2000" rows="2"></textarea></label>
          </details>
        </div>
        <div class="bt-after" aria-live="polite"></div>
        <div class="bt-error" role="alert"></div>
      </div>`;
    this.player = new ABPlayer(this.find(".bt-player"), { A: "A", B: "B" }, () => this.heard());
    this.find(".bt-next").onclick = () => this.next();
    this.find(".bt").onkeydown = (event) => this.key(event);
    this.drawChoices();
    this.hello();
  }

  find(name) {
    return this.root.querySelector(name);
  }

  // Calls the server; says what went wrong, and returns null then.
  async ask(name, data) {
    this.find(".bt-error").textContent = "";
    let found;
    try {
      found = await this.server[name](data);
    } catch (error) {
      found = { error: "The server did not answer. Nothing is lost; try again." };
    }
    if (found.error) this.find(".bt-error").textContent = found.error;
    return found.error ? null : found;
  }

  async hello() {
    const found = await this.ask("hello", { listener: localStorage.getItem(LISTENER_KEY) });
    if (!found) return;
    localStorage.setItem(LISTENER_KEY, found.listener);
    this.listener = found.listener;
    this.find(".bt-count").textContent = `${found.unheard} pairs you have not voted on`;
    this.find(".bt-next").disabled = found.unheard === 0;
    if (!this.pair) this.restore();
    // A new server may still be decoding its gallery.
    if (!found.unheard && !this.again) this.again = setTimeout(() => this.hello(), 20000);
  }

  // After a reload: the pair that was there, unless another has come meanwhile.
  async restore() {
    const found = await this.ask("left_open", { listener: this.listener });
    if (found?.pair && !this.pair) this.present(found.pair);
  }

  async next() {
    this.present(await this.ask("next_pair", { listener: this.listener }));
  }

  async written(battle) {
    this.present(await this.ask("show_pair", { listener: this.listener, battle }));
  }

  async present(pair) {
    if (!pair) return;
    this.pair = pair;
    this.voted = false;
    this.find(".bt-prompt").textContent = pair.prompt;
    this.find(".bt-after").replaceChildren();
    this.find(".bt-vote").hidden = false;
    this.root.querySelector("textarea").value = "";
    this.root.querySelectorAll("input:checked").forEach((input) => (input.checked = false));
    await this.player.load(pair);
    this.player.toggleLoop([0, this.player.duration]); // so that the second clip is not cut short
    this.heard();
    if (this.root.offsetParent) this.find(".ab").focus(); // not while another tab is open
  }

  drawChoices() {
    for (const [value, text] of CHOICES) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text, disabled: true });
      button.dataset.choice = value;
      button.onclick = () => this.vote(value);
      this.find(".bt-choices").append(button);
    }
    const cell = (side, dimension) =>
      [1, 2, 3, 4, 5].map((n) => `<label><input type="radio" name="${side} ${dimension}"
        data-side="${side}" data-dimension="${dimension}" value="${n}"
        aria-label="${dimension} of ${side}: ${n} of 5">${n}</label>`).join(" ");
    this.find(".bt-ratings").innerHTML = "<tr><td></td><th>A</th><th>B</th></tr>" +
      DIMENSIONS.map((d) => `<tr><th>${d}</th><td>${cell("A", d)}</td><td>${cell("B", d)}</td></tr>`)
        .join("");
  }

  heard() {
    if (!this.pair || this.voted) return;
    const left = ["A", "B"].map((side) => {
      const missing = this.pair.heard_s - secondsOf(this.player.heard[side]);
      return missing > 0 ? `${Math.ceil(missing)} s of ${side}` : null;
    }).filter(Boolean);
    const note = left.length ? `Listen to ${left.join(" and ")} more, then choose` : "Which is better?";
    const line = this.find(".bt-heard");
    if (line.textContent !== note) line.textContent = note;
    for (const button of this.find(".bt-choices").children) button.disabled = left.length > 0;
  }

  ratings() {
    const found = { A: {}, B: {} };
    for (const input of this.root.querySelectorAll("input:checked"))
      found[input.dataset.side][input.dataset.dimension] = Number(input.value);
    return found;
  }

  async vote(preference) {
    if (!this.pair || this.voted) return;
    this.player.stop();
    const kept = await this.ask("vote", {
      ticket: this.pair.ticket,
      preference,
      ratings: this.ratings(),
      remark: this.root.querySelector("textarea").value,
      heard: this.player.heard,
      switches: this.player.switches,
    });
    if (!kept) return;
    this.voted = true;
    this.find(".bt-vote").hidden = true;
    this.countDown(kept.undo_s);
  }

  countDown(seconds) {
    const after = this.find(".bt-after");
    const undo = document.createElement("button");
    Object.assign(undo, { type: "button", className: "bt-undo", textContent: "Undo" });
    undo.onclick = () => this.undo();
    after.replaceChildren("Your vote is kept. ", undo);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.reveal(), (seconds + 0.3) * 1000);
    undo.focus();
  }

  async undo() {
    clearTimeout(this.timer);
    if (!(await this.ask("undo", { ticket: this.pair.ticket }))) return this.reveal();
    this.voted = false;
    this.find(".bt-after").textContent = "Your vote was taken back.";
    this.find(".bt-vote").hidden = false;
    this.heard();
    this.find(".ab").focus();
  }

  async reveal() {
    const shown = await this.ask("reveal", { ticket: this.pair.ticket });
    if (!shown) return;
    const list = document.createElement("ul");
    list.className = "bt-reveal";
    for (const side of ["A", "B"]) {
      const item = document.createElement("li");
      const score = shown[side].score;
      const fit = typeof score === "number" ? `, alignment ${score.toFixed(2)}` : "";
      item.textContent = `${side} was ${shown[side].checkpoint}${fit}`;
      list.append(item);
    }
    this.find(".bt-after").replaceChildren(list, `Seed ${shown.seed}.`);
    this.hello();
  }

  key(event) {
    if (["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName)) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const choice = { a: "A", b: "B", t: "TIE", x: "BOTH_BAD" }[event.key.toLowerCase()];
    const open = choice && !this.voted && !this.find(".bt-choices").children[0].disabled;
    if (open) this.vote(choice);
    if (event.key.toLowerCase() === "n" && !this.find(".bt-next").disabled) this.next();
  }
}

if (typeof module !== "undefined") module.exports = { BlindTest };
