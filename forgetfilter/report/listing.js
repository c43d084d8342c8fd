// A list of masked texts, shown a page at a time. Every text enters the page as text, never as markup.
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
// `name` begins the ids of its elements; `head` makes the parts of an item's header and what stands below it and after its texts, `body` the texts
function listing(name, size, noun, head, body) {
  const part = one => document.getElementById(`${name}-${one}`);
  const list = part("rows"), shown = new Set();
  let chosen = [], start = 0;
  const current = () => chosen.slice(start, start + size);
  const box_of = (item, open) => make("div", {class: "text", tabindex: "0", role: "region", "aria-label": `Text of ${noun} ${item.id.slice(0, 12)}`},
    ...(open ? body(item) : [make("span", {class: "mask"}, "masked")]));
  function row_of(item) {
    let open = shown.has(item), box = box_of(item, open);
    const turn = make("button", {type: "button", class: "show"}), {header, buttons, below, after = []} = head(item);
    const made = make("div", {class: "row"}, make("header", {}, ...header, make("span", {class: "buttons"}, ...buttons, turn)), below, box, ...after);
    const label = () => { turn.textContent = open ? "Hide" : "Show"; turn.setAttribute("aria-expanded", String(open)); };
    turn.addEventListener("click", () => {
      open = !open;
      open ? shown.add(item) : shown.delete(item);
      label();
      box.replaceWith(box = box_of(item, open));
    });
    label();
    return made;
  }
  function draw() {
    const end = Math.min(start + size, chosen.length), [from, to, all] = [start + 1, end, chosen.length].map(one => one.toLocaleString("en"));
    part("found").textContent = chosen.length ? `${from} to ${to} of ${all} ${noun}s` : `No ${noun}`;
    part("back").disabled = start === 0;
    part("on").disabled = end === chosen.length;
    list.replaceChildren(...current().map(row_of));
  }
  function turn_page(way) {
    start += way * size;
    draw();
    list.closest("section").scrollIntoView();
  }
  part("back").addEventListener("click", () => turn_page(-1));
  part("on").addEventListener("click", () => turn_page(1));
  part("all").addEventListener("click", () => {
    const all = current().every(item => shown.has(item));
    for (const item of current()) all ? shown.delete(item) : shown.add(item);
    draw();
  });
  return {
    part, row_of, unpacked: unpack(list.dataset.rows).catch(error => {
      part("found").textContent = "This browser cannot unpack the texts: open the page in a newer one";
      throw error;
    }),
    choose: items => { chosen = items; start = 0; draw(); },
    reveal: items => { if (list.dataset.reveal) for (const item of items) shown.add(item); },
  };
}
