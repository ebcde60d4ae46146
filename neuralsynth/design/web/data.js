// What the page is about: sounds by number, columns of what was measured, and how numbers are written.
const root = document.documentElement;
window.addEventListener("error", (event) => { root.dataset.error = String(event.message); });
window.addEventListener("unhandledrejection", (event) => { root.dataset.error = String(event.reason); });

const find = (id) => document.getElementById(id);
const batch = JSON.parse(find("data").textContent);
find("data").remove();
const COUNT = batch.names.length;
const lowerNames = batch.names.map((name) => name.toLowerCase());
const LOG_RATIO = 20; // hertz and seconds that span more than this are shown on a logarithmic scale

/** A descriptor: its values (NaN where there is none), its range, and how they lie between 0 and 1. */
class Column {
  constructor({ name, unit, says, values }) {
    this.name = name;
    this.unit = unit;
    this.says = says;
    this.label = name.replace(/_(seconds|hz|db_per_second|db|lufs|cents)$/, "").replaceAll("_", " ");
    this.values = Float64Array.from(values, (value) => (value === null ? NaN : value));
    const known = this.values.filter((value) => !Number.isNaN(value)).sort();
    this.low = known[0];
    this.high = known[known.length - 1];
    this.usualLow = known[Math.floor(0.02 * (known.length - 1))];
    this.usualHigh = known[Math.ceil(0.98 * (known.length - 1))];
    this.isLog = (unit === "Hz" || unit === "s") && this.low > 0 && this.high / this.low > LOG_RATIO;
  }

  get title() { return this.unit ? `${this.label} (${this.unit})` : this.label; }

  get varies() { return this.high > this.low; }

  share(value, low = this.low, high = this.high) {
    if (!(high > low)) return 0.5;
    const at = this.isLog ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return Math.min(1, Math.max(0, at));
  }

  at(share) {
    if (share <= 0) return this.low;
    if (share >= 1) return this.high;
    const value = this.isLog ? this.low * (this.high / this.low) ** share : this.low + share * (this.high - this.low);
    return Number(written(value)); // what is applied is what is shown
  }

  told(sound) {
    const value = this.values[sound];
    return Number.isNaN(value) ? "–" : `${written(value)}${this.unit ? ` ${this.unit}` : ""}`;
  }
}

/** Three digits, or all before the point. */
function written(value) {
  if (value === null || Number.isNaN(value)) return "–";
  return String(Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
}

const columns = batch.columns.map((column) => new Column(column));
const columnNamed = (name) => columns.find((column) => column.name === name) || null;

/** The spectrogram of a sound as an image address. */
function picture(sound) {
  return `data:image/png;base64,${batch.pictureHead}${batch.pictures[sound]}`;
}

/** Where a sound lies: in the page, or beside it, by a relative address in which nothing but slashes has a meaning. */
function address(sound) {
  if (batch.audio) return batch.audio[sound] || "";
  try {
    return `./${batch.files[sound].split("/").map(encodeURIComponent).join("/")}`;
  } catch {
    return ""; // a name that is no text
  }
}

/** A word of a shell command. */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

/** An element with text and attributes. */
function make(tag, attributes = {}, text = null) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  return element;
}

let messageTimer = 0;
/** Tell something for a moment. */
function tell(text) {
  const line = find("message");
  line.textContent = text;
  line.classList.add("on");
  clearTimeout(messageTimer);
  messageTimer = setTimeout(() => line.classList.remove("on"), 3500);
}

async function copyText(text, done) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  tell(done);
}

/** What may be kept between visits; a browser that keeps nothing is no problem. */
const memory = {
  key: `neuralsynth-batch-${batch.digest}`,
  read() {
    try { return JSON.parse(localStorage.getItem(this.key)) || {}; } catch { return {}; }
  },
  write(what) {
    try { localStorage.setItem(this.key, JSON.stringify({ ...this.read(), ...what })); return true; } catch { return false; }
  },
};
