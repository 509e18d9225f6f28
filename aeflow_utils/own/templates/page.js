"use strict";
(() => {
const $ = (selector, within = document) => within.querySelector(selector);
const data = JSON.parse($("#data").textContent);
const { path, label, kind, image_score: scores, threshold: fitted, low, high } = data;
const normal = data.normal.sort((a, b) => b - a);
const LABEL_NAMES = { 0: "normal", 1: "abnormal", "-1": "unlabelled" };
const VIEWS = ["thumb", "map", "overlay"].filter(view => data[view].some(Boolean));
const has = Object.fromEntries([-1, 0, 1].map(value => [value, label.includes(value)]));
const judged = has[0] && has[1];

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
const number = score => score.toFixed(data.digits);
const percent = share => Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : "–";

/** How many of `values`, largest first, are at or above `threshold`. */
function above(values, threshold) {
  let from = 0, to = values.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (values[middle] >= threshold) from = middle + 1; else to = middle;
  }
  return from;
}

/** For each k, how many of the first k images have this label. */
function running(value) {
  const counts = new Int32Array(label.length + 1);
  label.forEach((l, i) => { counts[i + 1] = counts[i] + (l === value); });
  return counts;
}
const normals = running(0), abnormals = running(1);

// ---- state: images come by falling score, so the flagged ones are the first `k`
const kFitted = above(scores, fitted);
let threshold = fitted, k = kFitted;
let view = "thumb", current = -1, shown = [], found = path.map(() => true);

const flagged = i => i < k;
const changed = i => flagged(i) !== (i < kFitted);
const wrong = i => label[i] >= 0 && flagged(i) !== (label[i] === 1);
const VERDICTS = [["not flagged", "flagged"], ["miss", "false alarm"]];
const verdict = i => VERDICTS[+wrong(i)][+flagged(i)];

// ---- filters: two groups of choices, each with the number of images it would leave
const facets = [
  facet("#sides", [
    ["all", () => true],
    ["flagged", flagged],
    ["not flagged", i => !flagged(i)],
    judged && ["errors", wrong],
    has[0] && ["false alarms", i => label[i] === 0 && flagged(i)],
    has[1] && ["misses", i => label[i] === 1 && !flagged(i)],
    ["changed sides", changed],
  ]),
  facet("#labels", [
    ["any", () => true],
    ...[0, 1, -1].map(value => has[value] && [LABEL_NAMES[value], i => label[i] === value]),
  ]),
];
facets[1].box.hidden = facets[1].options.length < 3;

function facet(selector, choices) {
  const box = $(selector);
  const options = choices.filter(Boolean).map(([name, test], position) => {
    const chip = box.appendChild(document.createElement("label"));
    const input = document.createElement("input");
    const count = document.createElement("b");
    Object.assign(input, { type: "radio", name: box.id, value: name, checked: !position });
    chip.append(input, name, " ", count);
    return { test, input, count, n: 0 };
  });
  const made = { box, options, chosen: options[0] };
  made.choose = option => { option.input.checked = true; made.chosen = option; filter(); };
  box.addEventListener("change", event => made.choose(options.find(o => o.input === event.target)));
  return made;
}

function filter() {
  tally();
  draw();
  const top = list.getBoundingClientRect().top;
  if (top < 0) scrollBy(0, top - bar.offsetHeight - 8);
}

/** Which images are shown, and how many each choice would leave. */
function tally() {
  for (const { options } of facets) for (const option of options) option.n = 0;
  shown = [];
  for (let i = 0; i < scores.length; i++) {
    if (!found[i]) continue;
    const [side, name] = facets.map(({ chosen }) => chosen.test(i));
    if (name) for (const option of facets[0].options) option.n += option.test(i);
    if (side) for (const option of facets[1].options) option.n += option.test(i);
    if (side && name) shown.push(i);
  }
  for (const { options } of facets) for (const { count, n } of options) count.textContent = n;
  $("#shown").textContent = `${shown.length} of ${scores.length}`;
  $("#none").hidden = shown.length > 0;
}

const plain = text => text.normalize("NFC").toLowerCase();
const searched = path.map(plain);
$("#search").addEventListener("input", event => {
  const wanted = plain(event.target.value.trim());
  found = searched.map(text => text.includes(wanted));
  filter();
});
$(".filters").addEventListener("submit", event => event.preventDefault());

// ---- the threshold
const plot = $("#plot"), slider = $("#slider");
let waiting = false;

function move(value) {
  threshold = clamp(value, low, high);
  if (!waiting) requestAnimationFrame(refresh);
  waiting = true;
}

function refresh() {
  waiting = false;
  k = above(scores, threshold);
  plot.style.setProperty("--at", (threshold - low) / (high - low));
  slider.setAttribute("aria-valuenow", threshold);
  slider.setAttribute("aria-valuetext", `${number(threshold)}, ${k} flagged`);
  $("#reset").hidden = threshold === fitted;
  const alarms = above(normal, threshold);
  const tp = abnormals[k], fp = normals[k], fn = abnormals.at(-1) - tp, tn = normals.at(-1) - fp;
  tell({
    value: number(threshold), flagged: k, changed: Math.abs(k - kFitted),
    alarms: `${percent(alarms / normal.length)} (${alarms} of ${normal.length})`,
    tp, fp, fn, tn,
    sensitivity: percent(tp / (tp + fn)), specificity: percent(tn / (tn + fp)),
    precision: percent(tp / (tp + fp)), f1: percent(2 * tp / (2 * tp + fp + fn)),
  });
  $("#tuned").hidden = threshold === fitted;
  tally();
  draw();
}

function tell(values) {
  for (const [id, value] of Object.entries(values)) document.getElementById(id).textContent = value;
}

function drag(event) {
  const { left, width } = slider.getBoundingClientRect();
  move(low + (high - low) * (event.clientX - left) / width);
}
function drop(event) {
  if (event.type === "pointerup") drag(event);
  removeEventListener("pointermove", drag);
  for (const end of ["pointerup", "pointercancel"]) removeEventListener(end, drop);
}
slider.addEventListener("pointerdown", event => {
  if (event.button) return;
  event.preventDefault();  // selects no text
  slider.focus({ preventScroll: true });
  if (event.pointerType !== "touch") drag(event);  // a finger may only want to scroll the page
  addEventListener("pointermove", drag);
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, drop);
});
const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 20, PageDown: -20,
                Home: -Infinity, End: Infinity };
slider.addEventListener("keydown", event => {
  const step = STEPS[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  move(threshold + step * (high - low) / 200);
});
$("#reset").addEventListener("click", () => { move(fitted); slider.focus(); });

// ---- cards: only those on the screen and a little more are in the document
const list = $("#cards"), bar = $(".bar"), cards = new Map();
let columns = 1, rowHeight = 300, printing = false;

function measure() {
  const style = getComputedStyle(list);
  columns = style.gridTemplateColumns.split(" ").length;
  const card = cards.values().next().value;
  if (card) rowHeight = card.getBoundingClientRect().height + parseFloat(style.rowGap);
}

/** Lines of cards to have: those on the screen and half a screen around it; on paper, the first 60 cards. */
function lines(n) {
  if (printing) return [0, Math.min(n, 60 / columns)];
  const top = -list.getBoundingClientRect().top, margin = innerHeight / 2;
  const first = clamp(Math.floor((top - margin) / rowHeight), 0, n);
  return [first, clamp(Math.ceil((top + innerHeight + margin) / rowHeight), first, n)];
}

function draw() {
  const n = Math.ceil(shown.length / columns), [first, last] = lines(n), from = first * columns;
  list.style.paddingTop = `${first * rowHeight}px`;
  list.style.paddingBottom = printing ? 0 : `${(n - last) * rowHeight}px`;
  const wanted = shown.slice(from, last * columns), kept = new Set(wanted);
  for (const [i, card] of cards) if (!kept.has(i)) { card.remove(); cards.delete(i); }
  const reachable = kept.has(current) ? current : wanted[0];  // by the tab key
  let next = list.firstElementChild;
  wanted.forEach((i, position) => {
    const card = cards.get(i) || make(i);
    if (card === next) next = next.nextElementSibling; else list.insertBefore(card, next);
    dress(card, i, from + position, i === reachable);
  });
}

function make(i) {
  const card = $("#card").content.firstElementChild.cloneNode(true), cut = path[i].lastIndexOf("/") + 1;
  $(".name", card).textContent = path[i].slice(cut);
  $(".place", card).textContent = path[i].slice(0, cut) || "\u00a0";
  card.title = path[i];
  $(".label", card).textContent = named(i);
  $(".label", card).classList.add(LABEL_NAMES[label[i]]);
  $(".numbers", card).textContent = `#${i + 1} · ${number(scores[i])}${chance(i)}`;
  card.dataset.row = i;
  cards.set(i, card);
  return card;
}

/** Label and kind, where that says more. */
const named = i => [...new Set([LABEL_NAMES[label[i]], kind[i]])].filter(Boolean).join(" · ");
function chance(i) {
  const p = data.p_value[i];
  if (p === null) return "";
  return p > 0 ? ` · p ${p.toFixed(3)}` : ` · p < ${(1 / normal.length).toPrecision(2)}`;
}

function dress(card, i, position, reachable) {
  const state = [verdict(i), changed(i), view, position, shown.length, reachable].join();
  if (card.state === state) return;
  card.state = state;
  card.ariaPosInSet = position + 1;
  card.ariaSetSize = shown.length;
  for (const [name, on] of Object.entries({ flagged: flagged(i), wrong: wrong(i), changed: changed(i) })) {
    card.classList.toggle(name, on);
  }
  $(".verdict", card).textContent = verdict(i);
  $(".moved", card).textContent = changed(i) ? "changed" : "";
  $("button", card).tabIndex = reachable ? 0 : -1;
  const picture = $("img", card), source = data[view][i] || data.thumb[i];
  if (picture.getAttribute("src") !== source) picture.src = source;
  picture.alt = `${path[i]}, ${verdict(i)}`;
}

let scrolled = false;
addEventListener("scroll", () => {
  if (!scrolled) requestAnimationFrame(() => { scrolled = false; draw(); });
  scrolled = true;
}, { passive: true });
new ResizeObserver(() => { measure(); draw(); }).observe(list.parentElement);
addEventListener("resize", draw);
addEventListener("beforeprint", () => { printing = true; draw(); });
addEventListener("afterprint", () => { printing = false; draw(); });
list.addEventListener("click", event => {
  if (event.target.closest("button")) open(+event.target.closest(".card").dataset.row);
});
list.addEventListener("focusin", event => { current = +event.target.closest(".card").dataset.row; });

// ---- image, map, overlay
function look(name) {
  view = name;
  for (const button of document.querySelectorAll(".views button")) {
    button.hidden = VIEWS.length < 2 || !VIEWS.includes(button.dataset.view);
    button.ariaPressed = button.dataset.view === view;
  }
  draw();
}
$(".views").addEventListener("click", event => event.target.dataset.view && look(event.target.dataset.view));

// ---- one image, large
const large = $("#large");
let opened = -1;  // as `current`, but a closing dialog hands the focus back to the card it came from

function open(i) {
  current = opened = i;
  tell({ "large-name": path[i] });
  const facts = [`#${i + 1}`, named(i), verdict(i), `score ${number(scores[i])}`];
  const p = data.p_value[i], pixels = data.pixel_auroc[i];
  if (p !== null) facts.push(`${percent(p)} of normal validation images score as high`);
  if (pixels !== null) facts.push(`pixel AUROC ${percent(pixels)}`);
  tell({ "large-facts": facts.join(" · ") });
  for (const figure of large.querySelectorAll("figure")) {
    const source = data[figure.dataset.view][i], picture = $("img", figure);
    figure.hidden = !source;
    picture.alt = `${figure.textContent.trim()} of ${path[i]}`;
    if (source) picture.src = source; else picture.removeAttribute("src");
  }
  if (large.open) return;
  large.showModal();
  large.focus();  // else Enter, once more, would leave the image
}
large.addEventListener("close", () => reach(opened));
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", event => event.target === dialog && dialog.close());
}
$("#close").addEventListener("click", () => large.close());
$("#next").addEventListener("click", () => go(1));
$("#previous").addEventListener("click", () => go(-1));
$("#help").addEventListener("click", () => $("#keys").showModal());

/** Focus a card, scrolled to if it is not on the screen. */
function reach(i) {
  const position = shown.indexOf(i);
  if (position < 0) return;
  const edge = bar.offsetHeight + 8;
  const top = list.getBoundingClientRect().top + Math.floor(position / columns) * rowHeight;
  if (top < edge) scrollBy(0, top - edge);
  else if (top + rowHeight > innerHeight) scrollBy(0, Math.min(top + rowHeight - innerHeight, top - edge));
  current = i;
  draw();
  $("button", cards.get(i)).focus({ preventScroll: true });
}

/** `step` cards on from the current one, or to the first on the screen. */
function go(step) {
  const known = large.open || cards.has(current) ? shown.indexOf(current) : -1;
  const visible = Math.ceil((bar.offsetHeight - list.getBoundingClientRect().top) / rowHeight) * columns;
  const i = shown[clamp(known < 0 ? visible : known + step, 0, shown.length - 1)];
  if (i === undefined) return;
  if (large.open) open(i); else reach(i);
}

// ---- keys
const onward = (items, item) => items[(items.indexOf(item) + 1) % items.length];
const KEYS = {
  j: () => go(1),
  k: () => go(-1),
  m: () => look(onward(VIEWS, view)),
  f: () => facets[0].choose(onward(facets[0].options, facets[0].chosen)),
  "?": () => $("#keys").showModal(),
};
const line = () => large.open ? 1 : columns;
const ARROWS = { ArrowRight: () => go(1), ArrowLeft: () => go(-1),
                 ArrowDown: () => go(line()), ArrowUp: () => go(-line()) };
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "search") return;
  if ($("#keys").open || large.open && !"jk".includes(event.key) && !ARROWS[event.key]) return;
  const cardsHaveIt = large.open || list.contains(document.activeElement);
  const action = KEYS[event.key] || cardsHaveIt && ARROWS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// ---- begin
for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
Object.assign(slider, { role: "slider", tabIndex: 0 });
$("#judged").hidden = !judged;
$("#expected").hidden = !normal.length;
refresh();
look(view);
measure();
draw();
})();
