// The evaluation's prompts with the answers of the models side by side.
let asked = [];
const prompts = listing("prompts", 10, "prompt", head_of_prompt, body_of_prompt);

function head_of_prompt(item) {
  const flips = item.flips.map(word => make("span", {class: "flip"}, word));
  return {header: [make("b", {}, item.suite), ...flips], buttons: [], below: make("div", {class: "soft"}, "id ", make("code", {}, item.id.slice(0, 12)))};
}
function written(value) {
  return typeof value === "boolean" ? (value ? "yes" : "no") : number(value);
}
function body_of_prompt(item) {
  const cards = item.answers.map(one => make("div", {}, make("span", {class: "role"}, one.model), make("p", {dir: "auto"}, one.text === null ? "not asked" : one.text || "(no text)"),
    make("span", {class: "role"}, Object.entries(one.scores).map(([name, value]) => `${name} ${written(value)}`).join(" · "))));
  return [make("span", {class: "role"}, "prompt"), make("p", {dir: "auto"}, item.prompt), make("div", {class: "cards"}, ...cards)];
}
function choose_prompts() {
  const suite = prompts.part("suite").value, which = prompts.part("which").value;
  prompts.choose(asked.filter(item => item.suite === suite && (which === "all" || item.flips.length)));
}
for (const name of ["suite", "which"]) prompts.part(name).addEventListener("change", choose_prompts);
const unpacked_prompts = prompts.unpacked.then(made => {
  asked = made;
  prompts.reveal(asked);
  choose_prompts();
});
