// The list: a card for each sound; only those in sight exist.
const CARD_WIDTH = 140;
const GAP = 10;
const TEXT_HEIGHT = 46;
const AHEAD = 400; // pixels beyond the edge that are made ready

class Grid {
  constructor(state, act) {
    this.state = state;
    this.act = act;
    this.element = find("grid");
    this.scroller = find("list");
    this.cards = new Map();
    this.pending = false;
    new ResizeObserver(() => this.update()).observe(this.element);
    this.scroller.addEventListener("scroll", () => this.update(), { passive: true });
    window.addEventListener("scroll", () => this.update(), { passive: true });
    window.addEventListener("resize", () => this.update());
  }

  measure() {
    const width = this.element.clientWidth;
    this.across = Math.max(2, Math.floor((width + GAP) / (CARD_WIDTH + GAP)));
    this.cardWidth = (width - GAP * (this.across - 1)) / this.across;
    this.rowHeight = Math.round(this.cardWidth / 2 + TEXT_HEIGHT) + GAP;
  }

  /** On a wide page the list scrolls by itself, on a narrow one with the page. */
  get scrollsItself() { return getComputedStyle(this.scroller).overflowY === "auto"; }

  update() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.fill(); });
  }

  fill() {
    this.measure();
    const { shown } = this.state;
    this.element.style.height = `${Math.max(0, Math.ceil(shown.length / this.across) * this.rowHeight - GAP)}px`;
    const sight = this.scrollsItself ? this.scroller.getBoundingClientRect() : { top: 0, bottom: window.innerHeight };
    const top = this.element.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((sight.top - AHEAD - top) / this.rowHeight)) * this.across;
    const end = Math.min(shown.length, Math.ceil((sight.bottom + AHEAD - top) / this.rowHeight) * this.across);
    const wanted = new Map();
    for (let at = first; at < end; at += 1) wanted.set(shown[at], at);
    for (const [sound, card] of this.cards) {
      if (!wanted.has(sound)) {
        card.remove();
        this.cards.delete(sound);
      }
    }
    let before = null;
    for (const [sound, at] of wanted) {
      const card = this.cards.get(sound) || this.card(sound);
      card.style.width = `${this.cardWidth}px`;
      card.style.height = `${this.rowHeight - GAP}px`;
      card.style.transform = `translate(${(at % this.across) * (this.cardWidth + GAP)}px, ${Math.floor(at / this.across) * this.rowHeight}px)`;
      card.setAttribute("aria-posinset", at + 1);
      card.setAttribute("aria-setsize", shown.length);
      this.mark(sound);
      // Elements lie in the order of the list, so that Tab and screen readers walk it in that order.
      const after = before ? before.nextSibling : this.element.firstChild;
      if (after !== card) this.element.insertBefore(card, after);
      before = card;
    }
    find("none").hidden = shown.length > 0;
  }

  card(sound) {
    const card = make("li", { class: "sound", "data-name": batch.names[sound] });
    const hear = make("button", { type: "button", class: "hear" });
    hear.append(make("img", { alt: "", width: 128, height: 64, decoding: "async", src: picture(sound) }), make("i", { class: "head" }));
    hear.append(make("span", { class: "name", dir: "auto" }, batch.names[sound]), make("span", { class: "value" }));
    hear.addEventListener("click", () => this.act.press(sound));
    const star = make("button", { type: "button", class: "star", "aria-label": `favourite ${batch.names[sound]}` }, "★");
    star.addEventListener("click", () => this.act.favour(sound));
    card.append(hear, star);
    this.cards.set(sound, card);
    return card;
  }

  /** Show on a card what is the case; nothing if it is out of sight. */
  mark(sound) {
    const card = this.cards.get(sound);
    if (!card) return;
    const { state } = this;
    const playing = this.act.playing() === sound;
    card.classList.toggle("selected", state.selected === sound);
    card.classList.toggle("playing", playing);
    card.querySelector(".hear").title = batch.names[sound];
    card.querySelector(".hear").setAttribute("aria-label", `${playing ? "stop" : "play"} ${batch.names[sound]}`);
    card.querySelector(".star").setAttribute("aria-pressed", String(state.favourites.has(sound)));
    const column = columnNamed(state.sortBy) || columnNamed(state.colour);
    const value = column ? `${column.unit ? "" : `${column.label} `}${column.told(sound)}` : "";
    card.querySelector(".value").textContent = [batch.keys[sound], value].filter(Boolean).join(" · ");
  }

  markAll() {
    for (const sound of this.cards.keys()) this.mark(sound);
  }

  /** Bring a sound into sight, and the keyboard's focus with it if it was in the list. */
  reveal(sound) {
    const at = this.state.shown.indexOf(sound);
    if (at < 0) return;
    this.measure();
    const hadFocus = this.element.contains(document.activeElement);
    const [top, height] = [Math.floor(at / this.across) * this.rowHeight, this.rowHeight];
    if (this.scrollsItself) {
      const own = this.element.offsetTop - this.scroller.offsetTop;
      const [from, tall] = [this.scroller.scrollTop - own, this.scroller.clientHeight];
      if (top < from) this.scroller.scrollTop = top + own - GAP;
      else if (top + height > from + tall) this.scroller.scrollTop = top + own + height - tall;
    } else if (hadFocus) {
      const y = this.element.getBoundingClientRect().top + top;
      if (y < 0 || y + height > window.innerHeight - 60) window.scrollBy(0, y - 0.3 * window.innerHeight);
    }
    this.fill();
    if (hadFocus) this.cards.get(sound)?.querySelector(".hear").focus({ preventScroll: true });
  }
}
