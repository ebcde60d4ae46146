// The map: a point for each sound, like beside like, coloured by a descriptor.
const PLASMA = [
  [13, 8, 135], [75, 3, 161], [125, 3, 168], [168, 34, 150], [203, 70, 121], [229, 107, 93], [248, 148, 65],
  [253, 195, 40], [240, 249, 33],
];
const STEPS = 48; // colours of the scale
const dark = matchMedia("(prefers-color-scheme: dark)");

/** A colour of the scale, 0..1: the part of it that can be seen on the page's ground. */
function scaleColour(share) {
  const at = (dark.matches ? 0.2 + 0.8 * share : 0.8 * share) * (PLASMA.length - 1);
  const below = Math.min(Math.floor(at), PLASMA.length - 2);
  const mix = PLASMA[below].map((value, i) => Math.round(value + (at - below) * (PLASMA[below + 1][i] - value)));
  return `rgb(${mix.join(" ")})`;
}

class SoundMap {
  constructor(state, act) {
    this.state = state;
    this.act = act;
    this.canvas = find("map");
    this.tip = find("tip");
    this.view = { x: 0.5, y: 0.5, zoom: 1 };
    this.hovered = -1;
    this.pending = false;
    this.steps = new Int8Array(COUNT);
    new ResizeObserver(() => this.measure()).observe(this.canvas);
    dark.addEventListener("change", () => this.colourBy(this.column));
    this.listen();
  }

  listen() {
    const { canvas } = this;
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, y: event.clientY, view: { ...this.view }, moved: false };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drag && event.buttons) {
        const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
        drag.moved ||= Math.hypot(dx, dy) > 4;
        if (drag.moved && this.view.zoom > 1) {
          canvas.setPointerCapture(event.pointerId);
          this.look(drag.view.x - dx / this.unit, drag.view.y + dy / this.unit, drag.view.zoom);
          return;
        }
      }
      this.hover(event.pointerType === "mouse" ? this.nearest(event) : -1);
    });
    canvas.addEventListener("pointerleave", () => this.hover(-1));
    canvas.addEventListener("click", (event) => {
      const sound = drag && drag.moved ? -1 : this.nearest(event);
      drag = null;
      if (sound >= 0) this.act.press(sound);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const [x, y] = this.place(event);
      this.zoom(Math.exp(-0.002 * event.deltaY), x, y);
    }, { passive: false });
    find("zoom-in").addEventListener("click", () => this.zoom(1.6));
    find("zoom-out").addEventListener("click", () => this.zoom(1 / 1.6));
    find("zoom-all").addEventListener("click", () => this.look(0.5, 0.5, 1));
  }

  measure() {
    const box = this.canvas.getBoundingClientRect();
    this.ratio = window.devicePixelRatio || 1;
    this.width = box.width;
    this.height = box.height;
    this.canvas.width = Math.round(box.width * this.ratio);
    this.canvas.height = Math.round(box.height * this.ratio);
    this.draw();
  }

  /** Pixels from one side of the unit square to the other; the map fills the canvas, so there are two. */
  get spanX() { return (this.width - 36) * this.view.zoom; }

  get spanY() { return (this.height - 36) * this.view.zoom; }

  get unit() { return this.spanX; }

  look(x, y, zoom) {
    this.view.zoom = Math.min(40, Math.max(1, zoom));
    const reach = 0.5 - 0.5 / this.view.zoom;
    this.view.x = Math.min(0.5 + reach, Math.max(0.5 - reach, x));
    this.view.y = Math.min(0.5 + reach, Math.max(0.5 - reach, y));
    this.canvas.classList.toggle("zoomed", this.view.zoom > 1);
    this.draw();
  }

  /** Zoom around a place, which stays where it is. */
  zoom(factor, x = this.view.x, y = this.view.y) {
    const zoom = Math.min(40, Math.max(1, this.view.zoom * factor));
    const keep = this.view.zoom / zoom;
    this.look(x + (this.view.x - x) * keep, y + (this.view.y - y) * keep, zoom);
  }

  pixel(sound) {
    return [
      0.5 * this.width + ((batch.x[sound] ?? 0.5) - this.view.x) * this.spanX,
      0.5 * this.height - ((batch.y[sound] ?? 0.5) - this.view.y) * this.spanY,
    ];
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      this.view.x + (event.clientX - box.left - 0.5 * this.width) / this.spanX,
      this.view.y - (event.clientY - box.top - 0.5 * this.height) / this.spanY,
    ];
  }

  nearest(event) {
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = event.pointerType === "touch" ? 26 : 14;
    let found = -1;
    for (const sound of this.state.shown) {
      const [x, y] = this.pixel(sound);
      const away = Math.hypot(x - px, y - py);
      if (away < best) [best, found] = [away, sound];
    }
    return found;
  }

  hover(sound) {
    if (sound === this.hovered) return;
    this.hovered = sound;
    this.canvas.classList.toggle("pointing", sound >= 0);
    this.tip.hidden = sound < 0;
    if (sound >= 0) {
      const [x, y] = this.pixel(sound);
      this.tip.querySelector("img").src = picture(sound);
      this.tip.querySelector(".name").textContent = batch.names[sound];
      this.tip.querySelector(".value").textContent = this.column ? `${this.column.label} ${this.column.told(sound)}` : "";
      const left = Math.min(Math.max(x - 78, 4), this.width - 160);
      this.tip.style.transform = `translate(${left}px, ${y > 150 ? y - 130 : y + 16}px)`;
      this.act.point(sound);
    }
    this.draw();
  }

  colourBy(column) {
    this.column = column;
    this.palette = Array.from({ length: STEPS }, (_, i) => scaleColour(i / (STEPS - 1)));
    for (let sound = 0; sound < COUNT; sound += 1) {
      const value = column ? column.values[sound] : NaN;
      this.steps[sound] = Number.isNaN(value) ? -1
        : Math.round(column.share(value, column.usualLow, column.usualHigh) * (STEPS - 1));
    }
    find("scale").style.background = `linear-gradient(90deg, ${this.palette.join(", ")})`;
    find("scale-low").textContent = column ? written(column.usualLow) : "";
    find("scale-high").textContent = column ? `${written(column.usualHigh)} ${column.unit}` : "";
    this.draw();
  }

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.paint(); });
  }

  paint() {
    if (!this.width) return;
    const { state, ratio } = this;
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    const size = Math.min(5.5, Math.max(1.8, 0.16 * Math.sqrt((this.width * this.height) / COUNT))) * this.view.zoom ** 0.3;
    const groups = new Map();
    for (let sound = 0; sound < COUNT; sound += 1) {
      const group = state.passes[sound] ? this.steps[sound] : -2;
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(sound);
    }
    for (const group of [...groups.keys()].sort((a, b) => a - b)) {
      const radius = group === -2 ? Math.max(1, 0.45 * size) : size;
      pen.fillStyle = group === -2 ? colour("--line") : group === -1 ? colour("--plain") : this.palette[group];
      pen.beginPath();
      for (const sound of groups.get(group)) {
        const [x, y] = this.pixel(sound);
        pen.moveTo(x + radius, y);
        pen.arc(x, y, radius, 0, 2 * Math.PI);
      }
      pen.globalAlpha = group === -2 ? 0.8 : 0.9;
      pen.fill();
    }
    pen.globalAlpha = 1;
    for (const sound of state.favourites) {
      if (state.passes[sound]) this.star(pen, sound, size + 4, colour);
    }
    this.ring(pen, this.hovered, size + 3, colour("--ink"), 1.5);
    this.ring(pen, state.selected, size + 4, colour("--accent"), 2.5);
  }

  star(pen, sound, size, colour) {
    const [x, y] = this.pixel(sound);
    pen.beginPath();
    for (let i = 0; i < 10; i += 1) {
      const [far, angle] = [i % 2 ? 0.45 * size : size, (i * Math.PI) / 5];
      pen.lineTo(x + far * Math.sin(angle), y - far * Math.cos(angle));
    }
    pen.closePath();
    pen.fillStyle = colour("--gold");
    pen.strokeStyle = colour("--card");
    pen.lineWidth = 1.5;
    pen.stroke();
    pen.fill();
  }

  ring(pen, sound, radius, colour, width) {
    if (sound < 0) return;
    const [x, y] = this.pixel(sound);
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.stroke();
  }
}
