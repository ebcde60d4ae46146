// Favourites: kept by the browser for this batch, saved and loaded as a list of names, one on each line.
class Favourites {
  constructor(changed) {
    const numbers = new Map(batch.indices.map((index, sound) => [index, sound]));
    const kept = memory.read().favourites;
    this.sounds = new Set((Array.isArray(kept) ? kept : []).map((index) => numbers.get(index)).filter((s) => s !== undefined));
    this.changed = changed;
    this.canKeep = true;
    this.namesakes = new Map();
    for (const name of batch.names) this.namesakes.set(name, (this.namesakes.get(name) || 0) + 1);
    find("save").addEventListener("click", () => this.save());
    find("copy").addEventListener("click", () => copyText(this.list(), `${this.sounds.size} names copied`));
    find("load").addEventListener("click", () => find("list-file").click());
    find("list-file").addEventListener("change", () => this.load(find("list-file")));
  }

  toggle(sound) {
    if (!this.sounds.delete(sound)) this.sounds.add(sound);
    this.keep();
    this.changed(sound);
  }

  keep() {
    const kept = memory.write({ favourites: [...this.sounds].sort((a, b) => a - b).map((sound) => batch.indices[sound]) });
    if (!kept && this.canKeep) tell("This browser keeps nothing for pages from disk: save the list before you leave.");
    this.canKeep = kept;
  }

  /** Names in the order of the batch; a number where a name would not do, as `neuralsynth pick` takes either. */
  list() {
    const lines = [...this.sounds].sort((a, b) => a - b).map((sound) => {
      const name = batch.names[sound];
      const isClear = name && name === name.trim() && !/[\p{Cc}\u2028\u2029]|^\d+$/u.test(name) && this.namesakes.get(name) === 1;
      return isClear ? name : batch.indices[sound];
    });
    return lines.map((line) => `${line}\n`).join("");
  }

  save() {
    const link = make("a", { download: "favourites.txt" });
    link.href = URL.createObjectURL(new Blob([this.list()], { type: "text/plain" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    tell(`${this.sounds.size} names saved: neuralsynth pick FOLDER --names favourites.txt`);
  }

  async load(input) {
    const lines = new Set((await input.files[0].text()).split(/\r?\n/).map((line) => line.trim()).filter(Boolean));
    input.value = "";
    const before = this.sounds.size;
    batch.names.forEach((name, sound) => {
      if (lines.has(name) || lines.has(String(batch.indices[sound]))) this.sounds.add(sound);
    });
    this.keep();
    this.changed(-1);
    tell(`${this.sounds.size - before} favourites more`);
  }
}
