// One sound at a time.
class Player {
  constructor(changed) {
    this.audio = find("player");
    this.changed = changed;
    this.sound = -1; // what is heard, or about to be
    this.audio.addEventListener("ended", () => this.stop());
    this.audio.addEventListener("playing", () => { root.dataset.playing = batch.names[this.sound]; this.follow(); });
    this.audio.addEventListener("error", () => {
      if (this.sound >= 0) this.failed();
    });
  }

  play(sound) {
    const before = this.sound;
    this.sound = sound;
    const source = address(sound);
    if (!source) {
      this.failed();
      return;
    }
    this.audio.src = source;
    this.audio.play().catch((problem) => {
      if (this.sound === sound && problem.name !== "AbortError") this.failed();
    });
    this.changed(before, sound);
  }

  toggle(sound) {
    if (this.sound === sound) this.stop(); else this.play(sound);
  }

  stop() {
    const before = this.sound;
    this.sound = -1;
    this.audio.pause();
    delete root.dataset.playing;
    if (before >= 0) this.changed(before, -1);
  }

  failed() {
    const name = this.sound >= 0 ? batch.files[this.sound] : "";
    this.stop();
    tell(`${name} cannot be played; is it where the page lies?`);
  }

  /** Move the line over the pictures while it plays. */
  follow() {
    if (this.sound < 0) return;
    const share = this.audio.duration > 0 ? this.audio.currentTime / this.audio.duration : 0;
    root.style.setProperty("--played", `${(100 * share).toFixed(2)}%`);
    requestAnimationFrame(() => this.follow());
  }
}
