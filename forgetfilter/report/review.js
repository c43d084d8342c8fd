// The rows that a person can look through and judge.
let reviewed = [], answers = new Map(), unsaved = false;
const rows = listing("review", 50, "row", head_of_row, row => texts_of(row.texts));

function texts_of(texts) {
  return texts.flatMap(([role, text]) => [make("span", {class: "role"}, role), make("p", {dir: "auto"}, text)]);
}
function head_of_row(row) {
  const known = [make("b", {}, row.drop ? "Dropped" : "Kept"), make("bdi", {}, row.source)];
  if (row.label) known.push(make("span", {}, "labelled " + row.label));
  known.push(make("span", {}, "score " + number(row.score)));
  if (row.p_value !== null) known.push(make("span", {}, "p " + number(row.p_value)));
  known.push(make("span", {class: "soft"}, `loss ${number(row.before_loss)} → ${number(row.after_loss)}`));
  const below = make("div", {class: "soft"}, make("bdi", {}, row.reason), row.reason ? " · id " : "id ", make("code", {}, row.id.slice(0, 12)));
  return {header: known, buttons: [say(row, "yes", "Keep"), say(row, "no", "Drop")], below, after: [resembling(row)]};
}
function say(row, word, label) {
  const button = make("button", {type: "button", class: "say", "data-row": row.id, "data-word": word, "aria-pressed": String(answers.get(row.id) === word)}, label);
  button.addEventListener("click", () => {
    answers.get(row.id) === word ? answers.delete(row.id) : answers.set(row.id, word);
    unsaved = true;
    for (const one of document.querySelectorAll(".say")) if (one.dataset.row === row.id) one.setAttribute("aria-pressed", String(answers.get(row.id) === one.dataset.word));
    count_answers();
  });
  return button;
}
const NEAREST = 5, WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_C}]+/gu, numbers = new Map();  // as --why counts words
function words_of(row) {
  const numbered = word => numbers.get(word) ?? (numbers.set(word, numbers.size), numbers.size - 1);
  return row.words ??= Uint32Array.from(new Set(row.texts.flatMap(([, text]) => text.toLowerCase().match(WORD) || [])), numbered);
}
function nearest(row) {  // by the Jaccard index of their words
  reviewed.forEach(words_of);
  const own = new Uint8Array(numbers.size);
  for (const word of row.words) own[word] = 1;
  const found = [];
  for (const other of reviewed) {
    let common = 0;
    for (const word of other.words) common += own[word];
    if (common && other !== row) found.push({other, share: common / (row.words.length + other.words.length - common)});
  }
  return found.sort((a, b) => b.share - a.share || (a.other.id < b.other.id ? -1 : 1)).slice(0, NEAREST);
}
function resembling(row) {  // is looked for when it is opened
  const list = make("div", {class: "near"}), box = make("details", {}, make("summary", {}, "What resembles it"), list);
  box.addEventListener("toggle", () => {
    if (!box.open || list.hasChildNodes()) return;
    list.append("Looking …");  // the first time it takes a moment, where the texts are long
    setTimeout(() => {
      const found = nearest(row);
      list.replaceChildren(...found.map(({other, share}) => make("div", {}, make("p", {class: "soft"}, `Of the words of both, ${Math.round(100 * share)}% are common`), rows.row_of(other))));
      if (!found.length) list.append(make("p", {class: "soft"}, "No other row of this page has a word in common with it."));
    }, 20);
  });
  return box;
}
function count_answers() {
  rows.part("save").textContent = `Save review.csv (${answers.size.toLocaleString("en")} answer${answers.size === 1 ? "" : "s"})`;
}
function save() {
  const lines = ["keep,id", ...[...answers].map(([id, word]) => `${word},${id}`)];
  const link = make("a", {href: URL.createObjectURL(new Blob([lines.join("\n") + "\n"], {type: "text/csv"})), download: "review.csv"});
  link.click();
  URL.revokeObjectURL(link.href);
  unsaved = false;
}
const ORDERS = {score: row => row.score, before: row => row.before_loss, after: row => row.after_loss,
  rise: row => row.after_loss === null || row.before_loss === null ? null : row.after_loss - row.before_loss, tokens: row => row.num_tokens};
function choose() {
  const words = rows.part("search").value.toLowerCase().split(/\s+/).filter(word => word), which = rows.part("which").value;
  const [order, way] = rows.part("order").value.split(" "), key = ORDERS[order];
  const wanted = row => which === "all" || (which === "answered" ? answers.has(row.id) : row.drop === (which === "dropped"));
  const found = reviewed.filter(row => wanted(row) && words.every(word => row.search.includes(word)));
  const unknown = row => Number(key(row) === null);  // those come last
  rows.choose(found.sort((a, b) => unknown(a) || unknown(b) ? unknown(a) - unknown(b) : way * (key(a) - key(b))));
}
function show_row(id) {  // of a point of the map, by the first digits of its id
  const there = reviewed.some(row => row.id.startsWith(id));
  rows.part("which").value = "all";
  rows.part("search").value = id;
  choose();
  if (!there) rows.part("found").textContent = `Row ${id} is not among the rows of this page: forgetfilter filter RUN --why ${id} tells of it`;
  document.getElementById("forgotten").scrollIntoView();
}
let typed;
rows.part("search").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(choose, 150); });
for (const name of ["which", "order"]) rows.part(name).addEventListener("change", choose);
rows.part("save").addEventListener("click", save);
window.addEventListener("beforeunload", event => { if (unsaved) event.preventDefault(); });
const unpacked = rows.unpacked.then(made => {
  reviewed = made.rows;
  answers = new Map(Object.entries(made.answers));
  for (const row of reviewed) row.search = [row.id, row.source, row.label || "", row.reason, ...row.texts.map(([, text]) => text)].join(" ").toLowerCase();
  rows.reveal(reviewed);
  choose();
  count_answers();
});
document.getElementById("map").on("plotly_click", event => {
  const known = event.points[0].customdata;
  if (known) unpacked.then(() => show_row(known[1]));
});
