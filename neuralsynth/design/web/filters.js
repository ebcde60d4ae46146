// Which sounds are shown, and in what order.
const BINS = 36; // of a filter's histogram

/** A descriptor's range: two handles, two numbers, and how many sounds lie where. */
class RangeFilter {
  constructor(column, changed) {
    this.column = column;
    this.changed = changed;
    this.clear();
    this.element = make("div", { class: "filter", "data-name": column.name });
    const head = make("div", { class: "filter-head" });
    const label = make("span", { class: "label", title: `${column.name}: ${column.says}` }, column.label);
    if (column.unit) label.append(make("small", {}, ` ${column.unit}`));
    this.numbers = ["lowest", "highest"].map((end) =>
      make("input", { type: "number", step: "any", "aria-label": `${end} ${column.title}` }));
    head.append(label, this.numbers[0], make("span", { class: "soft" }, "–"), this.numbers[1]);
    this.bars = make("canvas", { class: "bars", "aria-hidden": "true" });
    const range = make("div", { class: "range" });
    this.handles = ["lowest", "highest"].map((end) =>
      make("input", { type: "range", min: "0", max: "1000", "aria-label": `${end} ${column.title}` }));
    range.append(make("i"), ...this.handles);
    this.element.append(head, this.bars, range);
    this.handles.forEach((handle, end) => handle.addEventListener("input", () => this.slide(end)));
    this.numbers.forEach((number, end) => number.addEventListener("change", () => this.type(end)));
    this.binOf = Int8Array.from(column.values, (v) => (Number.isNaN(v) ? -1 : Math.min(BINS - 1, Math.floor(column.share(v) * BINS))));
    this.show();
  }

  clear() {
    this.ends = [this.column.low, this.column.high];
  }

  get isActive() { return this.ends[0] > this.column.low || this.ends[1] < this.column.high; }

  /** A sound without this descriptor passes only while the filter is open. */
  passes(sound) {
    const value = this.column.values[sound];
    return value >= this.ends[0] && value <= this.ends[1];
  }

  slide(end) {
    const at = this.handles.map((handle) => Number(handle.value));
    if (at[0] > at[1]) this.handles[end].value = at[1 - end];
    this.ends[end] = this.column.at(Number(this.handles[end].value) / 1000);
    this.show(this.handles[end]);
    this.changed();
  }

  type(end) {
    const value = parseFloat(this.numbers[end].value);
    const open = [this.column.low, this.column.high];
    this.ends[end] = Number.isNaN(value) ? open[end] : Math.min(Math.max(value, open[0]), open[1]);
    if (this.ends[0] > this.ends[1]) this.ends[1 - end] = this.ends[end];
    this.show();
    this.changed();
  }

  show(held = null) {
    this.ends.forEach((value, end) => {
      const share = this.column.share(value);
      if (this.handles[end] !== held) this.handles[end].value = Math.round(1000 * share);
      this.handles[end].setAttribute("aria-valuetext", `${written(value)} ${this.column.unit}`);
      this.numbers[end].value = written(value);
      this.element.style.setProperty(end ? "--to" : "--from", share);
    });
    this.element.classList.toggle("active", this.isActive);
  }

  /** Draw how many sounds lie where: all, and of those the ones that are shown. */
  drawBars(passes) {
    const all = new Float64Array(BINS);
    const shown = new Float64Array(BINS);
    for (let sound = 0; sound < COUNT; sound += 1) {
      const bin = this.binOf[sound];
      if (bin < 0) continue;
      all[bin] += 1;
      shown[bin] += passes[sound];
    }
    const most = Math.sqrt(Math.max(...all)); // square roots, so that a few are seen beside many
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.bars.clientWidth, this.bars.clientHeight];
    if (!width) return;
    this.bars.width = Math.round(width * ratio);
    this.bars.height = Math.round(height * ratio);
    const pen = this.bars.getContext("2d");
    const style = getComputedStyle(root);
    pen.scale(ratio, ratio);
    [[all, "--line"], [shown, "--bar"]].forEach(([counts, colour]) => {
      pen.fillStyle = style.getPropertyValue(colour);
      counts.forEach((count, bin) => {
        const tall = (Math.sqrt(count) / most) * height;
        pen.fillRect((bin * width) / BINS + 0.5, height - tall, width / BINS - 1, tall);
      });
    });
  }
}

/** The numbers of the sounds that pass everything, in order. */
function chosen(state, filters) {
  const active = filters.filter((filter) => filter.isActive);
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (let sound = 0; sound < COUNT; sound += 1) {
    const passes = active.every((filter) => filter.passes(sound))
      && words.every((word) => lowerNames[sound].includes(word))
      && (!state.only || state.favourites.has(sound));
    state.passes[sound] = passes ? 1 : 0;
    if (passes) found.push(sound);
  }
  return sorted(found, state);
}

/** Equal ones stay in the order of the batch; what has no value comes last, up or down. */
function sorted(sounds, { sortBy, descending }) {
  const sign = descending ? -1 : 1;
  const column = columnNamed(sortBy);
  if (sortBy === "name") {
    const order = (a, b) => (lowerNames[a] < lowerNames[b] ? -1 : lowerNames[a] > lowerNames[b] ? 1 : 0);
    return sounds.sort((a, b) => sign * order(a, b) || a - b);
  }
  if (!column) return descending ? sounds.reverse() : sounds;
  const { values } = column;
  return sounds.sort((a, b) => {
    const missing = Number.isNaN(values[a]) - Number.isNaN(values[b]);
    return missing || sign * (values[a] - values[b]) || a - b;
  });
}
