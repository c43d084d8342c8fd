// The rows that a person can look through and judge, 50 at a time. Every text enters the page as text, never as markup.
const PAGE_ROWS = 50;
const list = document.getElementById("rows"), found = document.getElementById("found");
const ask = name => document.getElementById("review-" + name);
const shown = new Set();
let answers = new Map(), rows = [], chosen = [], start = 0, unsaved = false;

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
function number(value) {  // as the sentences of the page write numbers
  if (value === null) return "–";
  const size = Math.abs(value);
  return size < 1000 && (size === 0 || size >= 0.001) ? value.toFixed(3) : value.toPrecision(3);
}
async function unpack(encoded) {
  const bytes = Uint8Array.from(atob(encoded), c => c.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text());
}
const ORDERS = {score: row => row.score, before: row => row.before_loss, after: row => row.after_loss,
  rise: row => row.after_loss === null || row.before_loss === null ? null : row.after_loss - row.before_loss, tokens: row => row.num_tokens};
function compare(first, second) {  // what is not known comes last
  if (first === null || second === null) return (first === null) - (second === null);
  return first - second;
}
function choose() {
  const words = ask("search").value.toLowerCase().split(/\s+/).filter(word => word), which = ask("which").value;
  const [order, way] = ask("order").value.split(" "), key = ORDERS[order];
  const wanted = row => which === "all" || (which === "answered" ? answers.has(row.id) : row.drop === (which === "dropped"));
  chosen = rows.filter(row => wanted(row) && words.every(word => row.search.includes(word)));
  chosen.sort((a, b) => key(a) === null || key(b) === null ? compare(key(a), key(b)) : way * compare(key(a), key(b)));
  start = 0;
  draw_rows();
}
function text_box(row) {
  const box = make("div", {class: "text", tabindex: "0", role: "region", "aria-label": "Text of row " + row.id.slice(0, 12)});
  if (!shown.has(row.id)) box.append(make("span", {class: "mask"}, "masked"));
  else for (const [role, text] of row.texts) box.append(make("span", {class: "role"}, role), make("p", {dir: "auto"}, text));
  return box;
}
function said(row, word, label) {
  const button = make("button", {type: "button", class: "say", "aria-pressed": String(answers.get(row.id) === word)}, label);
  button.addEventListener("click", () => {
    answers.get(row.id) === word ? answers.delete(row.id) : answers.set(row.id, word);
    unsaved = true;
    for (const [other, one] of [["yes", 0], ["no", 1]]) button.parentNode.children[one].setAttribute("aria-pressed", String(answers.get(row.id) === other));
    count_answers();
  });
  return button;
}
function row_of(row) {
  const known = [make("b", {}, row.drop ? "Dropped" : "Kept"), make("bdi", {}, row.source)];
  if (row.label) known.push(make("span", {}, "labelled " + row.label));
  known.push(make("span", {}, "score " + number(row.score)));
  if (row.p_value !== null) known.push(make("span", {}, "p " + number(row.p_value)));
  known.push(make("span", {class: "soft"}, `loss ${number(row.before_loss)} → ${number(row.after_loss)}`));
  const turn = make("button", {type: "button", class: "show", "aria-expanded": String(shown.has(row.id))}, shown.has(row.id) ? "Hide" : "Show");
  const buttons = make("span", {class: "buttons"}, said(row, "yes", "Keep"), said(row, "no", "Drop"), turn);
  const about = make("div", {class: "soft"}, make("bdi", {}, row.reason), row.reason ? " · id " : "id ", make("code", {}, row.id.slice(0, 12)));
  const made = make("div", {class: "row"}, make("header", {}, ...known, buttons), about, text_box(row));
  turn.addEventListener("click", () => {
    shown.has(row.id) ? shown.delete(row.id) : shown.add(row.id);
    turn.textContent = shown.has(row.id) ? "Hide" : "Show";
    turn.setAttribute("aria-expanded", String(shown.has(row.id)));
    made.lastChild.replaceWith(text_box(row));
  });
  return made;
}
function draw_rows() {
  const end = Math.min(start + PAGE_ROWS, chosen.length);
  found.textContent = chosen.length ? `Rows ${(start + 1).toLocaleString("en")} to ${end.toLocaleString("en")} of ${chosen.length.toLocaleString("en")}` : "No row";
  ask("back").disabled = start === 0;
  ask("on").disabled = end === chosen.length;
  list.replaceChildren(...chosen.slice(start, end).map(row_of));
}
function count_answers() {
  ask("save").textContent = `Save review.csv (${answers.size.toLocaleString("en")} answer${answers.size === 1 ? "" : "s"})`;
}
function save() {
  const lines = ["keep,id", ...[...answers].map(([id, word]) => `${word},${id}`)];
  const link = make("a", {href: URL.createObjectURL(new Blob([lines.join("\n") + "\n"], {type: "text/csv"})), download: "review.csv"});
  link.click();
  URL.revokeObjectURL(link.href);
  unsaved = false;
}
function show_all() {
  const turned = chosen.slice(start, start + PAGE_ROWS), all = turned.every(row => shown.has(row.id));
  for (const row of turned) all ? shown.delete(row.id) : shown.add(row.id);
  draw_rows();
}
function show_row(id) {  // of a point of the map, by the first digits of its id
  if (!rows.some(row => row.id.startsWith(id))) {
    found.textContent = `Row ${id} is not among the rows of this page: forgetfilter filter RUN --why ${id} tells of it`;
    list.replaceChildren();
  } else {
    ask("which").value = "all";
    ask("search").value = id;
    choose();
  }
  document.getElementById("forgotten").scrollIntoView();
}
function turn_page(way) {
  start += way * PAGE_ROWS;
  draw_rows();
  document.getElementById("forgotten").scrollIntoView();
}
let typed;
ask("search").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(choose, 150); });
for (const name of ["which", "order"]) ask(name).addEventListener("change", choose);
ask("back").addEventListener("click", () => turn_page(-1));
ask("on").addEventListener("click", () => turn_page(1));
ask("all").addEventListener("click", show_all);
ask("save").addEventListener("click", save);
window.addEventListener("beforeunload", event => { if (unsaved) event.preventDefault(); });
const unpacked = unpack(list.dataset.rows).then(made => {
  rows = made.rows;
  answers = new Map(Object.entries(made.answers));
  for (const row of rows) {
    row.search = [row.id, row.source, row.label || "", row.reason, ...row.texts.map(([, text]) => text)].join(" ").toLowerCase();
    if (list.dataset.reveal) shown.add(row.id);
  }
  choose();
  count_answers();
});
