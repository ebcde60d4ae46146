"use strict";
// All versions of a row start together, sample by sample, and switching only moves gains: the position never jumps.
// Without this script, or where it cannot decode, each version keeps the browser's own player.
(() => {
  const root = document.documentElement;
  window.addEventListener("error", (event) => { root.dataset.error = String(event.message); });
  window.addEventListener("unhandledrejection", (event) => { root.dataset.error = String(event.reason); });
  const SWITCH_SECONDS = 0.008;
  let context = null;
  let active = null;

  class Row {
    constructor(element) {
      this.element = element;
      this.seconds = Number(element.dataset.seconds);
      this.versions = [...element.querySelectorAll(".version")];
      this.toggleButton = element.querySelector(".toggle");
      this.slider = element.querySelector("input[type=range]");
      this.loopBox = element.querySelector("input[type=checkbox]");
      this.time = element.querySelector("output");
      this.chosen = 0;
      this.offset = 0;
      this.startedAt = 0;
      this.sources = null;
      this.loading = null;
      this.versions.forEach((version, index) => {
        version.querySelector("button").addEventListener("click", () => this.choose(index));
        version.querySelector(".picture").addEventListener("click", () => this.choose(index));
      });
      this.toggleButton.addEventListener("click", () => (this.sources ? this.stop() : this.play()));
      this.slider.addEventListener("input", () => this.seek(Number(this.slider.value) * this.seconds));
      this.loopBox.addEventListener("change", () => this.seek(this.position()));
      element.addEventListener("focusin", () => activate(this));
      this.choose(0, false);
      this.draw();
    }

    position() {
      if (!this.sources) return this.offset;
      const at = this.offset + Math.max(0, context.currentTime - this.startedAt);
      return this.loopBox.checked ? at % this.seconds : Math.min(at, this.seconds);
    }

    load() {
      context = context || new AudioContext();
      const decode = (version) => {
        const text = atob(version.querySelector("audio").src.split(",")[1]);
        const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
        return context.decodeAudioData(bytes.buffer);
      };
      this.loading = this.loading || Promise.all(this.versions.map(decode));
      return this.loading;
    }

    async play() {
      activate(this);
      let buffers;
      try {
        buffers = await this.load();
        await context.resume();
      } catch (problem) {
        this.element.classList.add("plain");
        return;
      }
      if (this.sources || active !== this) return;
      if (this.offset >= this.seconds - 0.02) this.offset = 0;
      this.startedAt = context.currentTime + 0.02;
      this.gains = buffers.map((_, index) => new GainNode(context, { gain: index === this.chosen ? 1 : 0 }));
      this.sources = buffers.map((buffer, index) => {
        const source = new AudioBufferSourceNode(context, { buffer, loop: this.loopBox.checked });
        source.connect(this.gains[index]).connect(context.destination);
        source.start(this.startedAt, this.offset);
        return source;
      });
      const own = this.sources;
      own[0].addEventListener("ended", () => { if (this.sources === own) this.stop(0); });
      this.element.classList.add("playing");
      this.toggleButton.textContent = "Pause";
      this.draw();
    }

    stop(at = this.position()) {
      this.offset = at;
      const sources = this.sources;
      this.sources = null;
      if (sources) {
        this.gains.forEach((gain) => gain.gain.setTargetAtTime(0, context.currentTime, SWITCH_SECONDS / 3));
        sources.forEach((source) => source.stop(context.currentTime + 2 * SWITCH_SECONDS));
      }
      this.element.classList.remove("playing");
      this.toggleButton.textContent = "Play";
      this.draw();
    }

    seek(seconds) {
      const playing = this.sources !== null;
      this.stop(seconds);
      if (playing) this.play();
    }

    choose(index, start = true) {
      this.chosen = index;
      this.versions.forEach((version, at) => {
        version.classList.toggle("on", at === index);
        version.querySelector("button").setAttribute("aria-pressed", String(at === index));
      });
      if (this.sources) {
        this.gains.forEach((gain, at) => {
          gain.gain.setTargetAtTime(at === index ? 1 : 0, context.currentTime, SWITCH_SECONDS / 3);
        });
      } else if (start) {
        this.play();
      }
    }

    draw() {
      const share = this.position() / this.seconds;
      if (this.sources || document.activeElement !== this.slider) this.slider.value = share;
      this.time.textContent = `${this.position().toFixed(1)} / ${this.seconds.toFixed(1)} s`;
      this.versions.forEach((version) => { version.querySelector(".head").style.left = `${100 * share}%`; });
      if (this.sources) requestAnimationFrame(() => this.draw());
    }
  }

  function activate(row) {
    if (active === row) return;
    if (active) {
      active.stop();
      active.element.classList.remove("active");
    }
    active = row;
    row.element.classList.add("active");
  }

  const rows = [...document.querySelectorAll(".listen")].map((element) => new Row(element));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || rows.length === 0) return;
    const row = active || rows[0];
    const index = Number(event.key) - 1;
    if (index >= 0 && index < row.versions.length) {
      activate(row);
      row.choose(index);
    } else if (event.key === " " && !event.target.closest("button, input, summary, a, audio")) {
      event.preventDefault();
      row.toggleButton.click();
    }
  });
  root.classList.add("scripted");
  root.dataset.ready = String(rows.length);
})();
