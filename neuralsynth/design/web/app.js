// The page: what is pressed, pointed at and typed, and what follows from it.
const state = {
  shown: Array.from({ length: COUNT }, (_, i) => i), // numbers of the sounds that pass, in order
  passes: new Uint8Array(COUNT).fill(1),
  favourites: new Set(),
  selected: -1,
  text: "",
  only: false,
  sortBy: "index",
  descending: false,
  colour: (columnNamed("brightness") || columnNamed("centroid_hz") || columns.find((c) => c.varies) || { name: "" }).name,
};

const player = new Player((before, now) => {
  [before, now].forEach((sound) => grid.mark(sound));
  root.classList.toggle("playing", now >= 0);
  showPlaying();
});
const act = {
  playing: () => player.sound,
  press(sound) { select(sound); player.toggle(sound); },
  point(sound) { if (find("audition").checked) { select(sound, false); player.play(sound); } },
  favour(sound) { if (sound >= 0) favourites.toggle(sound); },
};
const grid = new Grid(state, act);
const map = new SoundMap(state, act);
const favourites = new Favourites((sound) => {
  if (state.only || sound < 0) refresh();
  grid.mark(sound);
  showFavourites();
});
state.favourites = favourites.sounds;
const filters = columns.filter((column) => column.varies).map((column) => new RangeFilter(column, later));

let waiting = false;
/** Filter once for all that changes before the next picture. */
function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; refresh(); });
}

function refresh() {
  state.shown = chosen(state, filters);
  find("count").textContent = state.shown.length.toLocaleString("en");
  root.dataset.shown = String(state.shown.length);
  filters.forEach((filter) => filter.drawBars(state.passes));
  find("reset").hidden = !filters.some((filter) => filter.isActive);
  grid.fill();
  map.draw();
}

function select(sound, reveal = true) {
  const before = state.selected;
  state.selected = sound;
  if (before !== sound) {
    [before, sound].forEach((one) => grid.mark(one));
    showDetail();
    map.draw();
  }
  if (reveal) grid.reveal(sound);
}

function showDetail() {
  const sound = state.selected;
  const name = batch.names[sound];
  find("detail").hidden = find("now").hidden = false;
  find("detail-picture").src = picture(sound);
  find("detail-name").textContent = find("now-name").textContent = name;
  const velocity = columnNamed("velocity");
  const told = [batch.keys[sound], velocity ? `velocity ${velocity.told(sound)}` : "", batch.presets[batch.presetOf[sound]]];
  find("detail-played").textContent = told.filter(Boolean).join(" · ");
  find("detail-values").replaceChildren(...columns.filter(({ name: n }) => n !== "velocity").flatMap((column) => [
    make("dt", { title: `${column.name}: ${column.says}` }, column.label), make("dd", {}, column.told(sound)),
  ]));
  const changes = batch.changes[sound];
  const lines = [];
  for (let at = 0; at < changes.length; at += 2) {
    lines.push(make("dt", { dir: "auto" }, batch.knobs[changes[at]]), make("dd", {}, written(changes[at + 1])));
  }
  find("detail-changes").replaceChildren(...(lines.length ? lines : [make("dt", {}, "none")]));
  find("command").textContent =
    `neuralsynth again ${quoted(batch.folder)} ${batch.indices[sound]} -o ${quoted(`${name}.wav`)}`;
  find("command-line").hidden = !batch.canAgain;
  const link = address(sound);
  find("file").hidden = !link;
  find("file").href = link;
  find("file").download = batch.files[sound].split("/").pop();
  showPlaying();
  showFavourites();
}

function showPlaying() {
  const own = player.sound >= 0 && player.sound === state.selected;
  find("detail").classList.toggle("playing", own);
  find("hear").textContent = own ? "Stop" : "Play";
  find("now-hear").textContent = own ? "■" : "▶";
  find("now-hear").setAttribute("aria-label", own ? "stop" : "play");
}

function showFavourites() {
  const own = String(favourites.sounds.has(state.selected));
  find("star").setAttribute("aria-pressed", own);
  find("now-star").setAttribute("aria-pressed", own);
  find("starred").textContent = favourites.sounds.size.toLocaleString("en");
  find("save").disabled = find("copy").disabled = favourites.sounds.size === 0;
  map.draw();
}

/** To another place of the list: from the selected sound, or its beginning. */
function move(step) {
  if (state.shown.length === 0) return;
  const from = state.shown.indexOf(state.selected);
  const isFar = Math.abs(step) >= COUNT; // to an end, wherever one is
  const to = from < 0 && !isFar ? 0 : Math.min(state.shown.length - 1, Math.max(0, from + step));
  select(state.shown[to]);
  if (find("audition").checked) player.play(state.selected);
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape") {
    player.stop();
    if (typing) event.target.blur();
    return;
  }
  if (typing) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.across, ArrowDown: grid.across, Home: -COUNT, End: COUNT };
  if (event.key in steps) move(steps[event.key]);
  else if (event.key === "f") act.favour(state.selected);
  else if (event.key === "/") find("search").focus();
  else if (event.key === " " && !event.target.closest("button, summary, a, input")) {
    if (state.selected < 0) move(0);
    if (state.selected >= 0) player.toggle(state.selected);
  } else return;
  event.preventDefault();
}

function fillChoices() {
  const choices = columns.filter((column) => column.varies);
  const option = (value, text) => make("option", { value }, text);
  find("sort").append(option("index", "number"), option("name", "name"), ...choices.map((c) => option(c.name, c.title)));
  find("colour").append(...choices.map((c) => option(c.name, c.title)));
  find("colour").value = state.colour;
}

document.addEventListener("keydown", pressed);
find("hear").addEventListener("click", () => player.toggle(state.selected));
find("now-hear").addEventListener("click", () => player.toggle(state.selected));
find("star").addEventListener("click", () => act.favour(state.selected));
find("now-star").addEventListener("click", () => act.favour(state.selected));
find("copy-command").addEventListener("click", () => copyText(find("command").textContent, "command copied"));
find("search").addEventListener("input", (event) => { state.text = event.target.value; later(); });
find("sort").addEventListener("change", (event) => { state.sortBy = event.target.value; refresh(); });
find("colour").addEventListener("change", (event) => {
  state.colour = event.target.value;
  map.colourBy(columnNamed(state.colour));
  grid.markAll();
});
find("direction").addEventListener("click", (event) => {
  state.descending = !state.descending;
  event.currentTarget.setAttribute("aria-pressed", String(state.descending));
  event.currentTarget.textContent = state.descending ? "↓" : "↑";
  refresh();
});
find("only").addEventListener("click", (event) => {
  state.only = !state.only;
  event.currentTarget.setAttribute("aria-pressed", String(state.only));
  refresh();
});
find("reset").addEventListener("click", () => {
  filters.forEach((filter) => { filter.clear(); filter.show(); });
  refresh();
});
find("filters").addEventListener("toggle", refresh);
dark.addEventListener("change", refresh);

fillChoices();
find("filter-list").append(...filters.map((filter) => filter.element));
find("filters").open = !matchMedia("(max-width: 60rem)").matches;
map.colourBy(columnNamed(state.colour));
refresh();
if (COUNT > 0) select(0, false); // the panel is there from the start, so that nothing moves when a sound is pressed
showFavourites();
requestAnimationFrame(() => requestAnimationFrame(() => {
  root.dataset.ready = String(COUNT);
  root.dataset.milliseconds = performance.now().toFixed(0);
}));
